"""A run as heatmaps: recursion depth, router score and KV-cache occupancy over positions.

Pure: a trace in, a chart out. Recursion 1 is at the top, x is the position, colours have the model's R levels whatever
the run used, and what was not computed stays empty.

Shapes: R recursions, S positions of the window.
"""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from app.chart import Chart, hover_text, new_figure, ordinal_scale, rows_height
from app.events import threshold_logits
from app.heatmap import (
    MAX_DIGIT_COLUMNS,
    add_absent,
    add_cells,
    add_digits,
    add_dots,
    add_level_legend,
    mark_boundaries,
    mark_pin,
)
from app.tables import label, slot_table, token_table
from app.theme import SCORE_HIGH, SCORE_LOW, SCORE_MIDDLE, UNROUTED, depth_colours
from mor_core.trace import TokenRecord, Trace

_SCORE_BAR = {
    "orientation": "h",
    "thickness": 10,
    "len": 0.3,
    "x": 1,
    "xanchor": "right",
    "y": 1.02,
    "yanchor": "bottom",
    "outlinewidth": 0,
}


def depth_heatmap(trace: Trace, window: range, pinned: int | None = None) -> Chart:
    """Draw which recursions each token took; a cell has the colour of the token's final depth."""
    tokens = _within(trace, window)
    recursions = trace.header.num_recursions
    colours = depth_colours(recursions)
    values = np.full((recursions, len(tokens)), np.nan)  # (R, S)
    for column, token in enumerate(tokens):
        values[: token.recursion_depth or 0, column] = token.recursion_depth or np.nan
    rows = _recursion_names(recursions)
    figure = new_figure(rows_height(recursions))
    add_cells(
        figure,
        values,
        tokens,
        rows,
        hover=[[_depth_hover(token, recursions) for token in tokens]] * recursions,
        colorscale=ordinal_scale(colours),
        zmin=0.5,
        zmax=recursions + 0.5,
        showscale=False,
    )
    if len(tokens) <= MAX_DIGIT_COLUMNS:
        add_digits(figure, tokens, colours)
    add_level_legend(
        figure, {f"depth {depth}": colour for depth, colour in enumerate(colours, start=1)}
    )
    mark_boundaries(figure, trace, window, rows)
    mark_pin(figure, window, pinned)
    table = token_table(trace)[["position", "token", "phase", "recursion_depth"]]
    return Chart(figure, _depth_finding(trace), _cut(table, window))


def score_heatmap(trace: Trace, window: range, pinned: int | None = None) -> Chart:
    """Draw each recursion's judgement of each token, with the threshold in the middle of the scale.

    The value is the sigmoid of the router's logit, which the causal rule compares with its threshold whatever the
    activation. A diagonal line marks a candidate that was not judged. Token-choice has no threshold: then the values
    are its scores of the depths.
    """
    if trace.header.config.get("router_type") == "token_choice":
        return _choice_heatmap(trace, window, pinned)
    tokens = _within(trace, window)
    recursions = trace.header.num_recursions
    limits = threshold_logits(trace.header)
    scores = np.full((recursions, len(tokens)), np.nan)  # (R, S)
    for column, token in enumerate(tokens):
        for row, logit in enumerate(token.router_logits):
            if logit is not None:
                scores[row, column] = _sigmoid(logit)
    rows = _recursion_names(recursions)
    middles = [0.5 if limit is None else _sigmoid(limit) for limit in limits]
    figure = new_figure(rows_height(recursions, extra=176))
    add_cells(
        figure,
        np.array(
            [_share_of_range(row, middle) for row, middle in zip(scores, middles, strict=True)]
        ),
        tokens,
        rows,
        hover=[
            [_score_hover(token, row, limits[row]) for token in tokens] for row in range(recursions)
        ],
        colorscale=[(0, SCORE_LOW), (0.5, SCORE_MIDDLE), (1, SCORE_HIGH)],
        zmin=-1,
        zmax=1,
        colorbar=_score_bar(limits),
    )
    add_absent(figure, tokens, recursions)
    entered = [
        (token.position, name) for token in tokens for name in rows[: token.recursion_depth or 0]
    ]
    add_dots(figure, entered, "entered")
    mark_boundaries(figure, trace, window, rows)
    mark_pin(figure, window, pinned)
    return Chart(figure, _score_finding(trace, limits), _score_table(trace, window))


def _choice_heatmap(trace: Trace, window: range, pinned: int | None) -> Chart:
    """Draw a token-choice router's score of each depth, with a dot on the depth taken."""
    tokens = _within(trace, window)
    depths = range(1, trace.header.num_recursions + 1)
    rows = [f"depth {depth}" for depth in depths]
    scores = np.array(
        [[token.router_scores[depth - 1] for token in tokens] for depth in depths], dtype=float
    )  # (R, S), NaN where not computed
    hover = [
        [f"{_position(token)}<br>score of depth {depth}: {score:.3f}" for token, score in cells]
        for depth, cells in zip(
            depths, (zip(tokens, row, strict=True) for row in scores), strict=True
        )
    ]
    figure = new_figure(rows_height(len(rows), extra=176))
    add_cells(
        figure,
        scores,
        tokens,
        rows,
        hover=hover,
        colorscale=[(0, SCORE_MIDDLE), (1, SCORE_HIGH)],
        zmin=0,
        zmax=1,
        colorbar=_SCORE_BAR | {"tickvals": [0, 1], "ticktext": ["0", "1"]},
    )
    taken = [
        (token.position, rows[token.recursion_depth - 1])
        for token in tokens
        if token.recursion_depth
    ]
    add_dots(figure, taken, "depth taken")
    mark_boundaries(figure, trace, window, rows)
    mark_pin(figure, window, pinned)
    judged = [token for token in trace.tokens if not token.special and token.recursion_depth]
    highest = sum(
        token.router_scores[(token.recursion_depth or 0) - 1]
        == max(score for score in token.router_scores if score is not None)
        for token in judged
    )
    finding = f"{highest} of {len(judged)} content tokens take the depth with the highest score."
    return Chart(figure, finding, _score_table(trace, window))


def _score_table(trace: Trace, window: range) -> pd.DataFrame:
    frame = token_table(trace)
    named = ["position", "token", "recursion_depth"]
    named += [name for name in frame.columns if name.startswith("router_")]
    return _cut(frame[named], window)


def cache_heatmap(trace: Trace, window: range, pinned: int | None = None) -> Chart:
    """Draw which cache slots hold which token: kept or not, no magnitude."""
    tokens = _within(trace, window)
    slots = trace.header.cache_slots
    rows = [slot.label for slot in slots]
    levels = [UNROUTED, *depth_colours(trace.header.num_recursions)]
    values = np.full((len(slots), len(tokens)), np.nan)  # (slots, S)
    for column, token in enumerate(tokens):
        for slot in token.cached_slots:
            values[slot, column] = (slots[slot].recursion or 0) + 1
    hover = [
        [
            f"{_position(token)}<br>{hover_text(slot.label)}: {'kept' if index in token.cached_slots else 'not kept'}"
            for token in tokens
        ]
        for index, slot in enumerate(slots)
    ]
    figure = new_figure(rows_height(len(slots), row=20))
    add_cells(
        figure,
        values,
        tokens,
        rows,
        hover=hover,
        colorscale=ordinal_scale(levels),
        zmin=0.5,
        zmax=len(levels) + 0.5,
        showscale=False,
    )
    used = sorted({slot.recursion or 0 for slot in slots})
    names = {
        (f"recursion {recursion}" if recursion else "prelude and coda"): levels[recursion]
        for recursion in used
    }
    add_level_legend(figure, names)
    mark_boundaries(figure, trace, window, rows)
    mark_pin(figure, window, pinned)
    return Chart(figure, _cache_finding(trace), slot_table(trace))


def _score_bar(limits: Sequence[float | None]) -> dict[str, object]:
    decided = sorted({round(_sigmoid(limit), 3) for limit in limits if limit is not None})
    middle = "threshold " + " / ".join(f"{score:g}" for score in decided) if decided else "0.5"
    return _SCORE_BAR | {"tickvals": [-1, 0, 1], "ticktext": ["0", middle, "1"]}


def _share_of_range(scores: np.ndarray, middle: float) -> np.ndarray:
    """Map scores 0..middle..1 to -1..0..1, each half evenly."""
    result: np.ndarray = np.where(
        scores >= middle, (scores - middle) / (1 - middle), (scores - middle) / middle
    )
    return result


def _depth_hover(token: TokenRecord, recursions: int) -> str:
    if token.recursion_depth is None:
        return f"{_position(token)}<br>depth not computed yet"
    return f"{_position(token)}<br>depth {token.recursion_depth} of {recursions}"


def _score_hover(token: TokenRecord, row: int, limit: float | None) -> str:
    start = f"{_position(token)}<br>recursion {row + 1}: "
    logit = token.router_logits[row]
    if logit is None:
        return start + "not judged"
    entered = "entered" if (token.recursion_depth or 0) > row else "left out"
    rule = (
        "no threshold here"
        if limit is None
        else f"threshold {_sigmoid(limit):.3f}, margin {logit - limit:+.2f}"
    )
    return f"{start}{entered}<br>sigmoid(logit) {_sigmoid(logit):.3f}, logit {logit:+.2f}<br>{rule}"


def _position(token: TokenRecord) -> str:
    return f"<b>{hover_text(label(token))}</b>  position {token.position}"


def _depth_finding(trace: Trace) -> str:
    mean, counts = trace.mean_recursion_depth, trace.depth_histogram()
    if mean is None:
        return "No content token has a depth yet."
    total = sum(counts)
    shares = ", ".join(
        f"{count / total:.0%} at depth {depth}"
        for depth, count in enumerate(counts, start=1)
        if total
    )
    return f"Mean recursion depth {mean:.2f} of {trace.header.num_recursions} over {total} content tokens: {shares}."


def _score_finding(trace: Trace, limits: Sequence[float | None]) -> str:
    parts = []
    for row, limit in enumerate(limits):
        logits = [token.router_logits[row] for token in trace.tokens if not token.special]
        judged = [logit for logit in logits if logit is not None]
        if limit is not None and judged:
            above = sum(logit >= limit for logit in judged)
            close = sum(0.25 <= _sigmoid(logit) <= 0.75 for logit in judged)
            parts.append(
                f"recursion {row + 1} takes {above} of {len(judged)} candidates "
                f"({close} of them score between 0.25 and 0.75)"
            )
    return f"{'; '.join(parts).capitalize()}." if parts else "No threshold decides in this run."


def _cache_finding(trace: Trace) -> str:
    table = slot_table(trace)
    kept, whole = int(table["tokens_kept"].sum()), int(table["tokens_computed"].sum())
    share = f"{kept / whole:.0%}" if whole else "none"
    pieces = len(trace.header.windows)
    if pieces:
        return f"The caches of {pieces} pieces of the text keep {kept:,} of {whole:,} possible entries ({share})."
    return f"The cache keeps {kept:,} of {whole:,} possible entries ({share})."


def _within(trace: Trace, window: range) -> list[TokenRecord]:
    return trace.tokens[window.start : window.stop]


def _cut(table: pd.DataFrame, window: range) -> pd.DataFrame:
    return table.iloc[window.start : window.stop]


def _recursion_names(recursions: int) -> list[str]:
    return [f"recursion {recursion}" for recursion in range(1, recursions + 1)]


def _sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit)) if logit >= 0 else math.exp(logit) / (1 + math.exp(logit))
