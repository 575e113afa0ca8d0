"""Tables of a run: one row per token or per cache slot, with units in the column names.

Imports neither Streamlit nor charts. A value that was not computed is empty, never zero.
"""

import csv
import io
from collections.abc import Sequence

import pandas as pd

from app.style.theme import visible_text
from app.text.words import say
from mor_core.traces.token_class import token_classes
from mor_core.traces.trace import Phase, TokenRecord, Trace

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "|", "%")


def token_table(trace: Trace) -> pd.DataFrame:
    """Return one row per token, in order of position."""
    recursions = range(trace.header.num_recursions)
    tokens = trace.tokens
    columns: dict[str, pd.Series] = {
        "position": pd.Series([token.position for token in tokens], dtype="int64"),
        "token": pd.Series([label(token) for token in tokens], dtype="str"),
        "token_class": pd.Series(token_classes(tokens), dtype="str"),
        "phase": pd.Series([token.phase for token in tokens], dtype="str"),
        "recursion_depth": pd.Series([token.recursion_depth for token in tokens], dtype="Int64"),
        "prediction_depth": pd.Series([token.prediction_depth for token in tokens], dtype="Int64"),
    }
    for recursion in recursions:
        logits = [token.router_logits[recursion] for token in tokens]
        columns[f"router_logit_r{recursion + 1}"] = _floats(logits)
    for recursion in recursions:
        scores = [token.router_scores[recursion] for token in tokens]
        columns[f"router_score_r{recursion + 1}"] = _floats(scores)
    entries = pd.Series(
        [None if token.recursion_depth is None else len(token.cached_slots) for token in tokens],
        dtype="Int64",
    )
    columns |= {
        "kv_entries": entries,
        "kv_bytes": entries * trace.header.kv_bytes_per_entry,
        "log_probability_nats": _floats([token.log_probability for token in tokens]),
        "entropy_nats": _floats([token.entropy for token in tokens]),
        "latency_s": _floats([token.latency_s for token in tokens]),
        "special": pd.Series([token.special for token in tokens], dtype="bool"),
        "token_id": pd.Series([token.token_id for token in tokens], dtype="int64"),
        "token_bytes_hex": pd.Series([token.token_bytes for token in tokens], dtype="str"),
    }
    return pd.DataFrame(columns)


def depth_table(trace: Trace, window: range) -> pd.DataFrame:
    """Return one row per token in the window: its position, text, phase and depth."""
    table = token_table(trace)[["position", "token", "phase", "recursion_depth"]]
    return table.iloc[window.start : window.stop]


def boundaries(trace: Trace, window: range) -> pd.DataFrame:
    """Return where generation starts and where the model's next window of a long text starts, as far as in `window`.

    Columns: `position`, `what` (in the viewer's language).
    """
    decoded = [token.position for token in trace.tokens if token.phase == "decode"]
    pieces = [end for _, end in trace.header.windows[:-1]]
    starts = [(start, say("frame.generated_from_here")) for start in decoded[:1]]
    starts += [(start, say("frame.next_piece")) for start in pieces]
    rows = [(start, what) for start, what in starts if window.start < start < window.stop]
    return pd.DataFrame(rows, columns=["position", "what"])


def slot_table(trace: Trace) -> pd.DataFrame:
    """Return one row per cache slot: the tokens that it keeps, the tokens that were computed, and its bytes."""
    computed = [token for token in trace.tokens if token.recursion_depth is not None]
    slots = trace.header.cache_slots
    kept = [sum(slot in token.cached_slots for token in computed) for slot in range(len(slots))]
    return pd.DataFrame(
        {
            "slot": [slot.label for slot in slots],
            "tokens_kept": kept,
            "tokens_computed": [len(computed)] * len(slots),
            "kv_bytes": [count * trace.header.kv_bytes_per_entry for count in kept],
        }
    )


def pinned_table(
    trace: Trace, position: int, threshold_logits: Sequence[float | None]
) -> pd.DataFrame:
    """Return one row per recursion for one token: its router score, the threshold, and the cache slots that keep it.

    Args:
        trace: the run.
        position: the token's position.
        threshold_logits: one per recursion; `None` where no threshold decides.
    """
    token = trace.tokens[position]
    slots = trace.header.cache_slots
    depth = token.recursion_depth
    rows = []
    for row, limit in enumerate(threshold_logits):
        logit = token.router_logits[row]
        kept = [
            slots[slot].label for slot in token.cached_slots if slots[slot].recursion == row + 1
        ]
        rows.append(
            {
                "recursion": row + 1,
                "taken": None if depth is None else depth > row,
                "router_logit": logit,
                "router_score": token.router_scores[row],
                "threshold_logit": limit,
                "margin": None if logit is None or limit is None else logit - limit,
                "kept_in_slots": ", ".join(kept),
            }
        )
    return pd.DataFrame(rows)


def depth_shares(
    groups: Sequence[str | None], depths: Sequence[int | None], num_recursions: int
) -> pd.DataFrame:
    """Count tokens at each depth, one row per group in order of first appearance.

    Args:
        groups: one name per token; `None` leaves the token out.
        depths: one per token; `None` (not computed) leaves the token out.
        num_recursions: R.

    Returns:
        Columns `group`, `num_tokens`, `mean_depth`, `num_depth_1` ... `num_depth_R`; `num_depth_0` only if it occurs.
    """
    counts: dict[str, list[int]] = {}
    for group, depth in zip(groups, depths, strict=True):
        if group is not None and depth is not None:
            counts.setdefault(group, [0] * (num_recursions + 1))[depth] += 1
    first = 0 if any(row[0] for row in counts.values()) else 1
    shown = range(first, num_recursions + 1)
    rows = [
        {
            "group": group,
            "num_tokens": sum(row),
            "mean_depth": sum(depth * count for depth, count in enumerate(row)) / sum(row),
            **{f"num_depth_{depth}": row[depth] for depth in shown},
        }
        for group, row in counts.items()
    ]
    columns = ["group", "num_tokens", "mean_depth", *(f"num_depth_{depth}" for depth in shown)]
    return pd.DataFrame(rows, columns=columns)


def shares_by_phase(trace: Trace) -> pd.DataFrame:
    """Count the depths of all content tokens, and of each phase where there are two."""
    tokens = _content(trace)
    groups: list[tuple[str, Phase | None]] = [(say("charts.all_tokens"), None)]
    if len({token.phase for token in tokens}) > 1:
        groups += [
            (say("charts.prompt_phase"), "prefill"),
            (say("charts.decode_phase"), "decode"),
        ]
    pairs = [
        (name, token.recursion_depth)
        for name, phase in groups
        for token in tokens
        if phase in (None, token.phase)
    ]
    return _shares(pairs, trace)


def shares_by_class(trace: Trace, *, of_next: bool = False) -> pd.DataFrame:
    """Count depths by class of token, the deepest class first.

    Args:
        trace: the run.
        of_next: group by the class of the next token, which the model predicts at this depth.
    """
    classes = token_classes(trace.tokens)
    if of_next:
        classes = [*classes[1:], ""]
    pairs = [
        (class_label(classes[token.position]), token.recursion_depth)
        for token in _content(trace)
        if classes[token.position]
    ]
    shares = _shares(pairs, trace)
    return shares.sort_values("mean_depth", ascending=False, kind="stable", ignore_index=True)


def shares_by_position(trace: Trace, width: int) -> pd.DataFrame:
    """Count depths by ranges of `width` positions; `group` is the range, such as `0-15`."""
    pairs = []
    for token in _content(trace):
        first = token.position // width * width
        pairs.append((f"{first}-{first + width - 1}", token.recursion_depth))
    return _shares(pairs, trace)


def to_csv(table: pd.DataFrame) -> bytes:
    """Return a table as CSV; text that a spreadsheet would take for a formula gets a leading apostrophe."""
    safe = table.copy()
    for name in safe.columns:
        if pd.api.types.is_string_dtype(safe[name].dtype):
            safe[name] = safe[name].map(_no_formula)
    text = io.StringIO()
    # Quote all text: an unquoted carriage return would begin a new row.
    safe.to_csv(text, index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    return text.getvalue().encode(
        "utf-8-sig"
    )  # spreadsheets recognise UTF-8 by the byte order mark


def label(token: TokenRecord) -> str:
    """Return a token's text on one line with visible whitespace."""
    return token.text if token.special else visible_text(token.text, token.token_bytes)


def class_label(name: str) -> str:
    """Return the name of a token class in the viewer's language."""
    return say(f"classes.{name.replace(' ', '_')}")


def _content(trace: Trace) -> list[TokenRecord]:
    return [token for token in trace.tokens if not token.special]


def _shares(pairs: Sequence[tuple[str, int | None]], trace: Trace) -> pd.DataFrame:
    groups = [group for group, _ in pairs]
    return depth_shares(groups, [depth for _, depth in pairs], trace.header.num_recursions)


def _floats(values: Sequence[float | None]) -> pd.Series:
    return pd.Series(values, dtype="float64")


def _no_formula(value: object) -> object:
    is_formula = isinstance(value, str) and value.startswith(_FORMULA_STARTS)
    return f"'{value}" if is_formula else value
