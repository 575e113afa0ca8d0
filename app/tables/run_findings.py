"""What the heatmaps of one run show, in a sentence each. Pure: a trace in, words out."""

from collections.abc import Sequence

from app.tables.trace_tables import slot_table
from app.text.words import say
from mor_core.common.logistic import sigmoid
from mor_core.traces.trace import Trace


def depth_finding(trace: Trace) -> str:
    """Say how deep a run went."""
    mean, counts = trace.mean_recursion_depth, trace.depth_histogram()
    if mean is None:
        return say("charts.finding_no_depth")
    total = sum(counts)
    shares = [
        say("charts.finding_share", share=f"{count / total:.0%}", depth=depth)
        for depth, count in enumerate(counts, start=1)
        if total
    ]
    return say(
        "charts.finding_depth",
        mean=f"{mean:.2f}",
        total=trace.header.num_recursions,
        count=total,
        shares=say("charts.list_separator").join(shares),
    )


def score_finding(trace: Trace, limits: Sequence[float | None]) -> str:
    """Say how many candidates each threshold takes, and how sure the router was."""
    parts = []
    for row, limit in enumerate(limits):
        logits = [token.router_logits[row] for token in trace.tokens if not token.special]
        judged = [logit for logit in logits if logit is not None]
        if limit is not None and judged:
            above = sum(logit >= limit for logit in judged)
            close = sum(0.25 <= sigmoid(logit) <= 0.75 for logit in judged)
            parts.append(
                say(
                    "charts.finding_scores",
                    recursion=row + 1,
                    above=above,
                    judged=len(judged),
                    close=close,
                )
            )
    if not parts:
        return say("charts.finding_no_threshold")
    text = say("charts.part_separator").join(parts)
    return text[:1].upper() + text[1:] + say("charts.full_stop")


def choice_finding(trace: Trace) -> str:
    """Say how many tokens took the depth that a token-choice router scored highest."""
    judged = [token for token in trace.tokens if not token.special and token.recursion_depth]
    highest = sum(
        token.router_scores[(token.recursion_depth or 0) - 1]
        == max(score for score in token.router_scores if score is not None)
        for token in judged
    )
    return say("charts.finding_choice", highest=highest, count=len(judged))


def cache_finding(trace: Trace) -> str:
    """Say how much of what could be kept a run kept."""
    table = slot_table(trace)
    kept, whole = int(table["tokens_kept"].sum()), int(table["tokens_computed"].sum())
    values = {
        "kept": f"{kept:,}",
        "whole": f"{whole:,}",
        "share": f"{kept / whole:.0%}" if whole else "-",
    }
    pieces = len(trace.header.windows)
    if pieces:
        return say("charts.finding_cache_pieces", pieces=pieces, **values)
    return say("charts.finding_cache", **values)
