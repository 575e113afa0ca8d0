"""Parts of heatmaps over positions: cells, marks, legends.

Each function adds to a figure. Rows are recursions or cache slots; x is the position.
"""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from app.charts.figure import hover_text
from app.style.theme import LINE
from app.tables.trace_tables import boundaries, label
from app.text.words import say
from mor_core.traces.trace import TokenRecord, Trace

MAX_DIGIT_COLUMNS = 128  # wider windows leave no room for a digit in a cell
MAX_NAMED_COLUMNS = 48  # wider windows leave no room for the token under a column


def add_cells(
    figure: go.Figure,
    values: np.ndarray,
    tokens: Sequence[TokenRecord],
    rows: list[str],
    hover: list[list[str]],
    **scale: object,
) -> None:
    """Add the values as cells, with recursion 1 or slot 1 at the top; a NaN cell stays empty."""
    positions = [token.position for token in tokens]
    figure.add_heatmap(
        z=values.astype(np.float32),
        x=positions,
        y=rows,
        customdata=hover,
        hovertemplate="%{customdata}<extra></extra>",
        hoverongaps=True,
        xgap=1 if len(tokens) <= MAX_DIGIT_COLUMNS else 0,
        ygap=2,
        **scale,
    )
    figure.update_yaxes(autorange="reversed", showgrid=False, ticks="", type="category", dtick=1)
    ends = [positions[0] - 0.5, positions[-1] + 0.5]
    figure.update_xaxes(
        title_text=say("frame.axis_position"), showgrid=False, ticks="outside", range=ends
    )
    if len(tokens) <= MAX_NAMED_COLUMNS:
        names = [f"{hover_text(label(token))}" for token in tokens]
        figure.update_xaxes(tickvals=positions, ticktext=names, tickangle=-60, title_text="")
        figure.update_layout(height=figure.layout.height + 44)


def add_absent(figure: go.Figure, tokens: Sequence[TokenRecord], recursions: int) -> None:
    """Mark cells that were not computed with a diagonal line."""
    cells = [
        (token.position, say("charts.recursion", number=row + 1))
        for row in range(recursions)
        for token in tokens
        if token.recursion_depth is not None and token.router_logits[row] is None
    ]
    figure.add_scatter(
        x=[x for x, _ in cells],
        y=[y for _, y in cells],
        mode="markers",
        marker={"symbol": "line-ne-open", "size": 7, "color": LINE, "line": {"width": 1}},
        hoverinfo="skip",
        name=say("charts.not_scored"),
    )


def add_dots(figure: go.Figure, cells: Sequence[tuple[int, str]], name: str) -> None:
    """Put dots on cells, given as position and row name, so that colour is not the only sign."""
    figure.add_scatter(
        x=[x for x, _ in cells],
        y=[y for _, y in cells],
        mode="markers",
        marker={
            "symbol": "circle",
            "size": 4,
            "color": "#ffffff",
            "line": {"width": 0.5, "color": "#333333"},
        },
        hoverinfo="skip",
        name=name,
    )


def add_level_legend(figure: go.Figure, levels: dict[str, str]) -> None:
    """Add a legend of all colours, including those that the run does not use."""
    for name, colour in levels.items():
        figure.add_scatter(
            x=[None],
            y=[None],
            mode="markers",
            marker={
                "symbol": "square",
                "size": 11,
                "color": colour,
                "line": {"width": 1, "color": LINE},
            },
            name=name,
            hoverinfo="skip",
        )
    figure.update_layout(showlegend=True)


def mark_boundaries(figure: go.Figure, trace: Trace, window: range, rows: Sequence[str]) -> None:
    """Add lines where generation starts and where the windows of a long text start."""
    for name, found in boundaries(trace, window).groupby("what", sort=False):
        figure.add_scatter(
            x=[x for start in found["position"] for x in (start - 0.5, start - 0.5, None)],
            y=[y for _ in found["position"] for y in (rows[0], rows[-1], None)],
            mode="lines",
            line={"color": LINE, "width": 3, "dash": "dot"},
            name=name,
            hoverinfo="skip",
        )


def mark_pin(figure: go.Figure, window: range, pinned: int | None) -> None:
    """Add a frame around the column of the token that is pinned in the strip."""
    if pinned is not None and pinned in window:
        line = {"color": LINE, "width": 1.5, "dash": "dot"}
        figure.add_vrect(x0=pinned - 0.5, x1=pinned + 0.5, line=line, fillcolor="rgba(0,0,0,0)")
