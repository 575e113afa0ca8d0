"""Where the depth of a run went: shares of tokens at each depth, by phase, class of token and position.

Pure: tables of `app.tables` in, charts out.
"""

import pandas as pd
import plotly.graph_objects as go

from app.chart import Chart, hover_text, new_figure, rows_height
from app.theme import NO_DEPTH, depth_colours, text_on

_SMALLEST_LABEL = 0.07  # share of the width that a label fits into


def share_bars(table: pd.DataFrame, num_recursions: int, finding: str) -> Chart:
    """Draw one bar a group, from 0 to 100% of its tokens; the number of tokens and the mean depth stand beside it."""
    figure = new_figure(rows_height(len(table), row=32), barmode="stack")
    names = [
        f"{hover_text(group)}  (n {count:,})"
        for group, count in zip(table["group"], table["num_tokens"], strict=True)
    ]
    for depth, colour in _levels(table, num_recursions):
        shares = table[f"num_depth_{depth}"] / table["num_tokens"]
        figure.add_bar(
            orientation="h",
            y=names,
            x=shares,
            name=f"depth {depth}",
            marker={"color": colour, "line": {"width": 0}},
            text=[f"{depth}: {share:.0%}" if share >= _SMALLEST_LABEL else "" for share in shares],
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            textfont={"color": text_on(colour)},
            customdata=table[f"num_depth_{depth}"],
            hovertemplate=f"%{{y}}<br>depth {depth}: %{{customdata}} tokens, %{{x:.1%}}<extra></extra>",
        )
    _write_means(
        figure, table, "\u00a0mean ", x=[1.0] * len(table), y=names, position="middle right"
    )
    figure.update_xaxes(
        range=[0, 1.12],
        tickvals=[0, 0.25, 0.5, 0.75, 1],
        tickformat=".0%",
        title_text="share of tokens",
    )
    figure.update_yaxes(autorange="reversed", type="category")
    return Chart(figure, finding, table)


def share_columns(table: pd.DataFrame, num_recursions: int, finding: str) -> Chart:
    """Draw one column a range of positions, from 0 to 100% of its tokens, the mean depth above it."""
    figure = new_figure(320, barmode="stack", bargap=0.08)
    for depth, colour in _levels(table, num_recursions):
        figure.add_bar(
            x=table["group"],
            y=table[f"num_depth_{depth}"] / table["num_tokens"],
            name=f"depth {depth}",
            marker={"color": colour, "line": {"width": 0}},
            text=[str(depth)] * len(table),
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            textfont={"color": text_on(colour)},
            customdata=table[["num_tokens", f"num_depth_{depth}"]],
            hovertemplate=f"positions %{{x}}<br>depth {depth}: %{{customdata[1]}} of %{{customdata[0]}} tokens, "
            "%{y:.1%}<extra></extra>",
        )
    _write_means(figure, table, "", x=table["group"], y=[1.0] * len(table), position="top center")
    figure.update_yaxes(
        range=[0, 1.12],
        tickvals=[0, 0.25, 0.5, 0.75, 1],
        tickformat=".0%",
        title_text="share of tokens; on top: mean depth",
    )
    figure.update_xaxes(type="category", title_text="position")
    return Chart(figure, finding, table)


def phase_finding(table: pd.DataFrame, num_recursions: int) -> str:
    """Say how deep a run went."""
    if table.empty:
        return "No content token has a depth yet."
    parts = [
        f"{row['group']} {row['mean_depth']:.2f} (n {row['num_tokens']:,})"
        for _, row in table.iterrows()
    ]
    return f"Mean depth of {num_recursions}: {'; '.join(parts)}."


def class_finding(table: pd.DataFrame, min_tokens: int = 5) -> str:
    """Name the deepest and the shallowest class among those with enough tokens."""
    known = table[table["num_tokens"] >= min_tokens]
    if len(known) < 2:
        return f"Fewer than two classes have {min_tokens} tokens or more: too few to compare."
    deep, shallow = known.iloc[0], known.iloc[-1]
    return (
        f"Deepest: {deep['group']}, mean {deep['mean_depth']:.2f} over {deep['num_tokens']} tokens. "
        f"Shallowest: {shallow['group']}, {shallow['mean_depth']:.2f} over {shallow['num_tokens']}. "
        f"(Classes with {min_tokens} tokens or more.)"
    )


def position_finding(table: pd.DataFrame) -> str:
    """Say between which means the ranges of positions lie."""
    if len(table) < 2:
        return "The run is too short to compare positions."
    low, high = table["mean_depth"].idxmin(), table["mean_depth"].idxmax()
    return (
        f"Mean depth lies between {table['mean_depth'][low]:.2f} (positions {table['group'][low]}) "
        f"and {table['mean_depth'][high]:.2f} (positions {table['group'][high]})."
    )


def _levels(table: pd.DataFrame, num_recursions: int) -> list[tuple[int, str]]:
    colours = [NO_DEPTH, *depth_colours(num_recursions)]
    return [
        (depth, colours[depth])
        for depth in range(num_recursions + 1)
        if f"num_depth_{depth}" in table
    ]


def _write_means(
    figure: go.Figure, table: pd.DataFrame, before: str, x: object, y: object, position: str
) -> None:
    figure.add_scatter(
        x=x,
        y=y,
        mode="text",
        text=[f"{before}<b>{mean:.2f}</b>" for mean in table["mean_depth"]],
        textposition=position,
        hoverinfo="skip",
        showlegend=False,
        cliponaxis=False,
    )
