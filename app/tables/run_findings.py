"""A sentence for each heatmap of a run that states what it shows. Pure: a trace in, text out."""

from collections.abc import Sequence

from app.tables.trace_tables import slot_table
from app.text.words import say
from mor_core.common.logistic import sigmoid
from mor_core.traces.trace import Trace


def depth_finding(trace: Trace) -> str:
    """State a run's mean depth and the share of tokens at each depth."""
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
    """State how many candidates are above each threshold, and how many scores are close to 0.5."""
    parts = []
    for row, limit in enumerate(limits):
        logits = [token.router_logits[row] for token in trace.tokens if not token.special]
        scored = [logit for logit in logits if logit is not None]
        if limit is not None and scored:
            above = sum(logit >= limit for logit in scored)
            close = sum(0.25 <= sigmoid(logit) <= 0.75 for logit in scored)
            parts.append(
                say(
                    "charts.finding_scores",
                    recursion=row + 1,
                    above=above,
                    scored=len(scored),
                    close=close,
                )
            )
    if not parts:
        return say("charts.finding_no_threshold")
    text = say("charts.part_separator").join(parts)
    return text[:1].upper() + text[1:] + say("charts.full_stop")


def choice_finding(trace: Trace) -> str:
    """State how many tokens took the depth that a token-choice router scored highest."""
    scored = [token for token in trace.tokens if not token.special and token.recursion_depth]
    highest = sum(
        token.router_scores[(token.recursion_depth or 0) - 1]
        == max(score for score in token.router_scores if score is not None)
        for token in scored
    )
    return say("charts.finding_choice", highest=highest, count=len(scored))


def cache_finding(trace: Trace) -> str:
    """State how many of the possible cache entries a run kept."""
    table = slot_table(trace)
    kept, possible = int(table["tokens_kept"].sum()), int(table["tokens_computed"].sum())
    values = {
        "kept": f"{kept:,}",
        "possible": f"{possible:,}",
        "share": f"{kept / possible:.0%}" if possible else "-",
    }
    pieces = len(trace.header.windows)
    if pieces:
        return say("charts.finding_cache_pieces", pieces=pieces, **values)
    return say("charts.finding_cache", **values)
