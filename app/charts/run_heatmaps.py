"""Heatmaps of a run over positions: router scores and KV-cache occupancy.

Pure: a trace in, a chart out. Recursion 1 is at the top and x is the position. The model's R, not the run, fixes the
colours. A cell that was not computed stays empty.

Shapes: R recursions, S positions of the window.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from app.charts.figure import Chart, hover_text, new_figure, ordinal_scale, rows_height
from app.charts.heatmap_parts import (
    add_absent,
    add_cells,
    add_dots,
    add_level_legend,
    mark_boundaries,
    mark_pin,
)
from app.style.theme import SCORE_HIGH, SCORE_LOW, SCORE_MIDDLE, UNROUTED, depth_colours
from app.tables.run_findings import cache_finding, choice_finding, score_finding
from app.tables.trace_tables import label, slot_table, token_table
from app.text.display_names import slot_label
from app.text.words import say
from mor_core.common.logistic import sigmoid
from mor_core.traces.thresholds import threshold_logits
from mor_core.traces.trace import TokenRecord, Trace

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


def score_heatmap(trace: Trace, window: range, pinned: int | None = None) -> Chart:
    """Draw each recursion's router score of each token, with the threshold in the middle of the colour scale.

    The value is the sigmoid of the router's logit, which the causal rule compares with its threshold for every
    activation. A diagonal line marks a token that was not scored. Token-choice has no threshold: its chart shows the
    score of each depth.
    """
    if trace.header.router.chooses_once:
        return _choice_heatmap(trace, window, pinned)
    tokens = _within(trace, window)
    recursions = trace.header.num_recursions
    limits = threshold_logits(trace.header)
    scores = np.full((recursions, len(tokens)), np.nan)  # (R, S)
    for column, token in enumerate(tokens):
        for row, logit in enumerate(token.router_logits):
            if logit is not None:
                scores[row, column] = sigmoid(logit)
    rows = _recursion_names(recursions)
    middles = [0.5 if limit is None else sigmoid(limit) for limit in limits]
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
    add_dots(figure, entered, say("charts.entered"))
    mark_boundaries(figure, trace, window, rows)
    mark_pin(figure, window, pinned)
    return Chart(figure, score_finding(trace, limits), _score_table(trace, window))


def _choice_heatmap(trace: Trace, window: range, pinned: int | None) -> Chart:
    """Draw a token-choice router's score of each depth, with a dot on the depth taken."""
    tokens = _within(trace, window)
    depths = range(1, trace.header.num_recursions + 1)
    rows = [say("charts.depth", number=depth) for depth in depths]
    scores = np.array(
        [[token.router_scores[depth - 1] for token in tokens] for depth in depths], dtype=float
    )  # (R, S), NaN where not computed
    hover = [
        [
            f"{_position(token)}<br>{say('charts.hover_choice', depth=depth, score=f'{score:.3f}')}"
            for token, score in cells
        ]
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
    add_dots(figure, taken, say("charts.depth_taken"))
    mark_boundaries(figure, trace, window, rows)
    mark_pin(figure, window, pinned)
    return Chart(figure, choice_finding(trace), _score_table(trace, window))


def _score_table(trace: Trace, window: range) -> pd.DataFrame:
    frame = token_table(trace)
    named = ["position", "token", "recursion_depth"]
    named += [name for name in frame.columns if name.startswith("router_")]
    return _cut(frame[named], window)


def cache_heatmap(trace: Trace, window: range, pinned: int | None = None) -> Chart:
    """Draw which cache slots keep which tokens."""
    tokens = _within(trace, window)
    slots = trace.header.cache_slots
    rows = [slot_label(slot.label) for slot in slots]
    levels = [UNROUTED, *depth_colours(trace.header.num_recursions)]
    values = np.full((len(slots), len(tokens)), np.nan)  # (slots, S)
    for column, token in enumerate(tokens):
        for slot in token.cached_slots:
            values[slot, column] = (slots[slot].recursion or 0) + 1
    kept, lost = say("charts.kept"), say("charts.not_kept")
    hover = [
        [
            f"{_position(token)}<br>{hover_text(row)}: {kept if index in token.cached_slots else lost}"
            for token in tokens
        ]
        for index, row in enumerate(rows)
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
        (say("charts.recursion", number=recursion) if recursion else say("charts.outside")): levels[
            recursion
        ]
        for recursion in used
    }
    add_level_legend(figure, names)
    mark_boundaries(figure, trace, window, rows)
    mark_pin(figure, window, pinned)
    return Chart(figure, cache_finding(trace), slot_table(trace))


def _score_bar(limits: Sequence[float | None]) -> dict[str, object]:
    decided = sorted({round(sigmoid(limit), 3) for limit in limits if limit is not None})
    scores = " / ".join(f"{score:g}" for score in decided)
    middle = say("charts.threshold", scores=scores) if decided else "0.5"
    return _SCORE_BAR | {"tickvals": [-1, 0, 1], "ticktext": ["0", middle, "1"]}


def _share_of_range(scores: np.ndarray, middle: float) -> np.ndarray:
    """Map scores 0..middle..1 to -1..0..1, linearly in each half."""
    result: np.ndarray = np.where(
        scores >= middle, (scores - middle) / (1 - middle), (scores - middle) / middle
    )
    return result


def _score_hover(token: TokenRecord, row: int, limit: float | None) -> str:
    start = f"{_position(token)}<br>{say('charts.recursion', number=row + 1)}: "
    logit = token.router_logits[row]
    if logit is None:
        return start + say("charts.not_scored")
    entered = say("charts.entered" if (token.recursion_depth or 0) > row else "charts.left_out")
    score = say("charts.hover_score", score=f"{sigmoid(logit):.3f}", logit=f"{logit:+.2f}")
    if limit is None:
        return f"{start}{entered}<br>{score}<br>{say('charts.hover_no_threshold')}"
    values = {"threshold": f"{sigmoid(limit):.3f}", "margin": f"{logit - limit:+.2f}"}
    return f"{start}{entered}<br>{score}<br>{say('charts.hover_threshold', **values)}"


def _position(token: TokenRecord) -> str:
    return say("charts.hover_token", token=hover_text(label(token)), position=token.position)


def _within(trace: Trace, window: range) -> list[TokenRecord]:
    return trace.tokens[window.start : window.stop]


def _cut(table: pd.DataFrame, window: range) -> pd.DataFrame:
    return table.iloc[window.start : window.stop]


def _recursion_names(recursions: int) -> list[str]:
    return [say("charts.recursion", number=number) for number in range(1, recursions + 1)]
