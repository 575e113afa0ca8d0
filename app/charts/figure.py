"""The base of every chart: a figure, a sentence that states the finding, and the same numbers as a table.

Holds the settings that all figures share. Imports no Streamlit.
"""

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
import plotly.graph_objects as go

if TYPE_CHECKING:
    import altair as alt

ROW_HEIGHT = 26
AXIS_HEIGHT = 130  # legend above, ticks and title below, and the margins of the page's theme


@dataclass(frozen=True)
class Chart:
    """A figure with its text and table alternatives.

    Attributes:
        figure: an Altair chart where it follows the pointer or the page reads its selection, else a Plotly figure.
        finding: a sentence that states what the figure shows; also its text alternative.
        table: the same numbers.
        selection: name of the selection that the page reads; empty without one.
    """

    figure: "go.Figure | alt.LayerChart"
    finding: str
    table: pd.DataFrame
    selection: str = ""


def new_figure(height: int, **layout: object) -> go.Figure:
    """Return an empty figure with the shared style; the page's theme sets the colours of text and lines."""
    figure = go.Figure()
    # Without an explicit template, a figure takes the one that Streamlit sets for the process.
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 8, "r": 8, "t": 8, "b": 8, "autoexpand": True},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hoverlabel={"align": "left"},
        legend={
            "orientation": "h",
            "yanchor": "bottom",
            "y": 1.02,
            "x": 0,
            "xanchor": "left",
            "title": {"text": ""},
            "traceorder": "normal",
        },
        bargap=0.3,
    )
    figure.update_xaxes(automargin=True, zeroline=False, title_standoff=10)
    figure.update_yaxes(automargin=True, zeroline=False)
    figure.update_layout(**layout)
    return figure


def interval(value: pd.Series, low: pd.Series, high: pd.Series, **look: object) -> dict[str, Any]:
    """Return the bars from `low` to `high` around each value, for a trace's `error_x` or `error_y`."""
    reach = {
        "array": (high - value).clip(lower=0),
        "arrayminus": (value - low).clip(lower=0),
    }
    return {"type": "data", "symmetric": False, "thickness": 1.5, **reach, **look}


def hover_text(text: str) -> str:
    """Escape characters that Plotly would read as markup."""
    return html.escape(text, quote=False)


def ordinal_scale(colours: list[str]) -> list[tuple[float, str]]:
    """Return a colour scale with hard edges: value i (1-based) has colour i within `zmin=0.5, zmax=len + 0.5`."""
    steps = len(colours)
    scale = []
    for index, colour in enumerate(colours):
        scale += [(index / steps, colour), ((index + 1) / steps, colour)]
    return scale


def rows_height(num_rows: int, *, row: int = ROW_HEIGHT, extra: int = AXIS_HEIGHT) -> int:
    """Return the height in pixels of a figure with `num_rows` rows."""
    return num_rows * row + extra
