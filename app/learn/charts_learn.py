"""The charts of the lessons: counted and measured cost of each depth, and the threshold's trade-off.

Pure: numbers in, charts out.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from app.charts.figure import Chart, new_figure
from app.learn.lesson_measures import Latency
from app.style.theme import LINE, SERIES, depth_colours, format_flops, text_on
from app.text.words import say
from mor_core.common.logistic import sigmoid

_HEIGHT = 260


def counted(costs: Latency) -> Chart:
    """Draw the counted FLOPs of a generated token at each depth."""
    values = [flops / 1e6 for flops in costs.flops]
    finding = say(
        "learn.chart_flops_finding",
        first=f"{values[0]:.1f}",
        last=f"{values[-1]:.1f}",
        R=len(values),
    )
    return _bars(values, "mflops_per_token", say("learn.chart_flops"), finding)


def measured(costs: Latency) -> Chart:
    """Draw the measured time of a generated token at each depth."""
    values = [1000 * seconds for seconds in costs.seconds]
    finding = say(
        "learn.chart_seconds_finding",
        first=f"{values[0]:.1f}",
        last=f"{values[-1]:.1f}",
        R=len(values),
        steps=f"{sum(costs.counts):,}",
    )
    return _bars(values, "milliseconds_per_token", say("learn.chart_seconds"), finding)


def sweep(points: Sequence[Mapping[str, Any]], chosen: int) -> Chart:
    """Draw the loss against FLOPs for every measured threshold, with the chosen one highlighted."""
    figure = new_figure(360, showlegend=False)
    x = [point["active_flops_per_token"] / 1e6 for point in points]
    y = [point["nll"] for point in points]
    figure.add_scatter(
        x=x,
        y=y,
        mode="lines+markers",
        line={"color": LINE, "width": 1.5},
        marker={"color": LINE, "size": 8},
        customdata=[point["threshold_logit"] for point in points],
        hovertemplate=say("learn.chart_sweep_hover") + "<extra></extra>",
    )
    point = points[chosen]
    figure.add_scatter(
        x=[x[chosen]],
        y=[y[chosen]],
        mode="markers+text",
        marker={"color": SERIES[1], "size": 16, "line": {"color": LINE, "width": 1}},
        text=[f"<b>{point['nll']:.3f}</b>"],
        textposition="top center",
        cliponaxis=False,
        hoverinfo="skip",
    )
    spread = max(y) - min(y)
    figure.update_xaxes(title_text=say("learn.chart_sweep_x"))
    figure.update_yaxes(
        title_text=say("learn.chart_sweep_y"),
        range=[min(y) - 0.15 * spread, max(y) + 0.25 * spread],
    )
    finding = say(
        "learn.chart_sweep_finding",
        threshold=threshold_label(point["threshold_logit"]),
        flops=format_flops(point["active_flops_per_token"]),
        loss=f"{point['nll']:.3f}",
        low=f"{point['nll_interval'][0]:.3f}",
        high=f"{point['nll_interval'][1]:.3f}",
    )
    table = pd.DataFrame(
        [{k: v for k, v in found.items() if k != "nll_interval"} for found in points]
    )
    return Chart(figure, finding, table)


def threshold_label(logit: float) -> str:
    """Return the label of a threshold: its score and its logit."""
    score = sigmoid(logit)
    digits = 2 if 0.01 <= score <= 0.99 else 3
    return f"{score:.{digits}f} ({logit:+g})".replace("-", "−") if logit else f"{score:g} (0)"


def _bars(values: Sequence[float], column: str, title: str, finding: str) -> Chart:
    colours = depth_colours(len(values))
    figure = new_figure(_HEIGHT, showlegend=False)
    names = [say("learn.chart_depth", depth=depth) for depth in range(1, len(values) + 1)]
    figure.add_bar(
        x=names,
        y=values,
        marker={"color": colours, "line": {"color": LINE, "width": 1}},
        text=[f"<b>{value:.1f}</b>" for value in values],
        textposition="inside",
        insidetextanchor="end",
        textangle=0,
        textfont={"color": [text_on(colour) for colour in colours], "size": 16},
        hoverinfo="skip",
    )
    figure.update_yaxes(title_text=title, rangemode="tozero")
    figure.update_xaxes(type="category")
    table = pd.DataFrame({"recursion_depth": range(1, len(values) + 1), column: values})
    return Chart(figure, finding, table)
