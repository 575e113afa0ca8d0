"""Charts of a run's depth distribution: shares of tokens at each depth, by phase, class of token and position.

Pure: tables of `app.tables.trace_tables` in, charts out.
"""

import pandas as pd
import plotly.graph_objects as go

from app.charts.figure import Chart, hover_text, new_figure, rows_height
from app.style.theme import NO_DEPTH, depth_colours, text_on
from app.text.words import say

_SMALLEST_LABEL = 0.07  # the smallest share of a bar that has room for a label


def share_bars(table: pd.DataFrame, num_recursions: int, finding: str) -> Chart:
    """Draw one bar per group with the shares of depths, its number of tokens and its mean depth."""
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
            name=say("charts.depth", number=depth),
            marker={"color": colour, "line": {"width": 0}},
            text=[f"{depth}: {share:.0%}" if share >= _SMALLEST_LABEL else "" for share in shares],
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            textfont={"color": text_on(colour)},
            customdata=table[f"num_depth_{depth}"],
            hovertemplate="%{y}<br>"
            + say("charts.hover_share", depth=depth, count="%{customdata}", share="%{x:.1%}")
            + "<extra></extra>",
        )
    _write_means(
        figure,
        table,
        f"\u00a0{say('charts.mean')} ",
        x=[1.0] * len(table),
        y=names,
        position="middle right",
    )
    figure.update_xaxes(
        range=[0, 1.12],
        tickvals=[0, 0.25, 0.5, 0.75, 1],
        tickformat=".0%",
        title_text=say("charts.share_axis"),
    )
    figure.update_yaxes(autorange="reversed", type="category")
    return Chart(figure, finding, table)


def share_columns(table: pd.DataFrame, num_recursions: int, finding: str) -> Chart:
    """Draw one column per range of positions with the shares of depths, and its mean depth above."""
    figure = new_figure(320, barmode="stack", bargap=0.08)
    for depth, colour in _levels(table, num_recursions):
        figure.add_bar(
            x=table["group"],
            y=table[f"num_depth_{depth}"] / table["num_tokens"],
            name=say("charts.depth", number=depth),
            marker={"color": colour, "line": {"width": 0}},
            text=[str(depth)] * len(table),
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            textfont={"color": text_on(colour)},
            customdata=table[["num_tokens", f"num_depth_{depth}"]],
            hovertemplate=say("charts.hover_positions", positions="%{x}")
            + "<br>"
            + say(
                "charts.hover_share_of",
                depth=depth,
                count="%{customdata[1]}",
                total="%{customdata[0]}",
                share="%{y:.1%}",
            )
            + "<extra></extra>",
        )
    _write_means(figure, table, "", x=table["group"], y=[1.0] * len(table), position="top center")
    figure.update_yaxes(
        range=[0, 1.12],
        tickvals=[0, 0.25, 0.5, 0.75, 1],
        tickformat=".0%",
        title_text=say("charts.share_axis_mean"),
    )
    figure.update_xaxes(type="category", title_text=say("charts.position"))
    return Chart(figure, finding, table)


def phase_finding(table: pd.DataFrame, num_recursions: int) -> str:
    """State a run's depths by phase."""
    if table.empty:
        return say("charts.finding_no_depth")
    parts = [
        say("charts.finding_phase", group=group, mean=f"{mean:.2f}", count=f"{count:,}")
        for group, mean, count in zip(
            table["group"], table["mean_depth"], table["num_tokens"], strict=True
        )
    ]
    joined = say("charts.part_separator").join(parts)
    return say("charts.finding_phases", total=num_recursions, parts=joined)


def class_finding(table: pd.DataFrame, min_tokens: int = 5) -> str:
    """State the deepest and the shallowest class of token among those with at least `min_tokens`."""
    known = table[table["num_tokens"] >= min_tokens]
    if len(known) < 2:
        return say("charts.finding_few_classes", least=min_tokens)
    deep, shallow = known.iloc[0], known.iloc[-1]
    return say(
        "charts.finding_classes",
        deep=deep["group"],
        deep_mean=f"{deep['mean_depth']:.2f}",
        deep_count=deep["num_tokens"],
        shallow=shallow["group"],
        shallow_mean=f"{shallow['mean_depth']:.2f}",
        shallow_count=shallow["num_tokens"],
        least=min_tokens,
    )


def position_finding(table: pd.DataFrame) -> str:
    """State the lowest and the highest mean depth among the ranges of positions."""
    if len(table) < 2:
        return say("charts.finding_short")
    low, high = table["mean_depth"].idxmin(), table["mean_depth"].idxmax()
    return say(
        "charts.finding_positions",
        low_mean=f"{table['mean_depth'][low]:.2f}",
        low=table["group"][low],
        high_mean=f"{table['mean_depth'][high]:.2f}",
        high=table["group"][high],
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
