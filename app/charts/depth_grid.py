"""A grid of the recursions that each token took, with clickable cells. Pure: tables in, a chart out.

It uses Altair because Plotly's heatmap reports no click on a cell to the page and redraws everything on a change.
"""

import json
from typing import Any

import altair as alt
import pandas as pd

from app.charts.figure import ROW_HEIGHT, Chart
from app.charts.heatmap_parts import MAX_DIGIT_COLUMNS, MAX_NAMED_COLUMNS
from app.style.theme import LINE, depth_colours, text_on
from app.text.display_names import column_label
from app.text.words import say

PIN = "pin"  # the selection: `[{"position": 5}]` while the pointer is on the grid


def depth_grid(
    tokens: pd.DataFrame,
    num_recursions: int,
    finding: str,
    boundaries: pd.DataFrame,
    pinned: int | None = None,
) -> Chart:
    """Draw a cell for each token and recursion; cells of taken recursions have the colour of the token's depth.

    Args:
        tokens: columns `position`, `token`, `phase`, `recursion_depth`; at least one row.
        num_recursions: R, which fixes the colours; the run may use fewer depths.
        finding: a sentence that states what the chart shows.
        boundaries: from `app.tables.trace_tables.boundaries`.
        pinned: position of the token whose column gets a frame.
    """
    recursions = pd.DataFrame({"recursion": range(1, num_recursions + 1)})
    cells = tokens.merge(recursions, how="cross")
    cells["taken"] = (cells["recursion"] <= cells["recursion_depth"]).fillna(False).astype(bool)
    base = alt.Chart(cells).encode(x=_positions(tokens), y=_rows(num_recursions))
    layers = [_cells(base, num_recursions)]
    if len(tokens) <= MAX_DIGIT_COLUMNS:
        layers.append(_digits(base, num_recursions))
    if len(boundaries):
        layers.append(_boundaries(boundaries))
    framed = cells[cells["position"] == pinned]
    frame = alt.Chart(framed).mark_rect(filled=False, stroke=LINE, strokeWidth=2)
    layers.append(frame.encode(x="position:O", y="recursion:O"))
    # The height of the complete chart: the page fits cells, axis and legend into it.
    height = num_recursions * ROW_HEIGHT + (172 if len(tokens) <= MAX_NAMED_COLUMNS else 128)
    figure = alt.layer(*layers).resolve_scale(color="independent")
    return Chart(figure.properties(height=height), finding, tokens, PIN)


def _positions(tokens: pd.DataFrame) -> alt.X:
    """Return the axis of positions, labelled with the tokens where there is room."""
    step = 5 if len(tokens) <= MAX_DIGIT_COLUMNS else 10
    labelled = [int(position) for position in tokens["position"] if position % step == 0]
    axis: dict[str, Any] = {
        "title": say("frame.axis_position"),
        "values": labelled,
        "labelAngle": 0,
    }
    if len(tokens) <= MAX_NAMED_COLUMNS:
        names = json.dumps(dict(zip(map(str, tokens["position"]), tokens["token"], strict=True)))
        axis = {"title": None, "labelAngle": -60, "labelExpr": f"({names})[datum.value]"}
    gaps = alt.Scale(paddingInner=0.1 if len(tokens) <= MAX_DIGIT_COLUMNS else 0, paddingOuter=0)
    return alt.X("position:O", scale=gaps, axis=alt.Axis(ticks=False, grid=False, **axis))


def _rows(num_recursions: int) -> alt.Y:
    """Return the axis of recursions, the first at the top."""
    axis = alt.Axis(
        title=None,
        ticks=False,
        grid=False,
        labelOverlap=False,
        labelExpr=_named("charts.recursion", num_recursions),
    )
    return alt.Y("recursion:O", scale=alt.Scale(paddingInner=0.08, paddingOuter=0), axis=axis)


def _cells(base: alt.Chart, num_recursions: int) -> alt.Chart:
    levels = list(range(1, num_recursions + 1))
    colour = alt.Color(
        "recursion_depth:O",
        scale=alt.Scale(domain=levels, range=depth_colours(num_recursions)),
        legend=alt.Legend(
            title=None,
            orient="top",
            labelExpr=_named("charts.depth", num_recursions),
            symbolStrokeWidth=0,
        ),
    )
    tooltips = ("token:N", "position:O", "recursion:O", "recursion_depth:O")
    pin = alt.selection_point(name=PIN, fields=["position"], on="click", clear="mouseout")
    return (
        base.mark_rect(cursor="pointer", stroke=LINE)
        .encode(
            # Cells of recursions not taken are invisible, not absent, so that the pointer finds them.
            color=alt.when(alt.datum.taken).then(colour).otherwise(alt.value("transparent")),
            strokeWidth=alt.when(pin, empty=False).then(alt.value(2)).otherwise(alt.value(0)),
            tooltip=[
                alt.Tooltip(name, title=column_label(name.partition(":")[0])) for name in tooltips
            ],
        )
        .add_params(pin)
    )


def _digits(base: alt.Chart, num_recursions: int) -> alt.Chart:
    """Write the depth into the deepest cell of each token, so that colour is not the only sign."""
    scale = alt.Scale(
        domain=list(range(1, num_recursions + 1)),
        range=[text_on(colour) for colour in depth_colours(num_recursions)],
    )
    return (
        base.transform_filter(alt.datum.recursion == alt.datum.recursion_depth)
        .mark_text(fontSize=11)
        .encode(
            text="recursion_depth:O",
            color=alt.Color("recursion_depth:O", scale=scale, legend=None),
        )
    )


def _boundaries(boundaries: pd.DataFrame) -> alt.Chart:
    """Draw a line before each position in `boundaries`."""
    dash = alt.StrokeDash(
        "what:N",
        scale=alt.Scale(range=[[2, 2], [6, 3]]),
        legend=alt.Legend(title=None, orient="top", symbolStrokeColor=LINE),
    )
    return (
        alt.Chart(boundaries)
        .mark_rule(color=LINE, strokeWidth=3)
        .encode(x=alt.X("position:O", bandPosition=0), strokeDash=dash)
    )


def _named(key: str, count: int) -> str:
    """Return the Vega expression that labels the numbers 1 to `count` in the viewer's language."""
    names = [say(key, number=number) for number in range(1, count + 1)]
    return f"({json.dumps(names)})[datum.value - 1]"
