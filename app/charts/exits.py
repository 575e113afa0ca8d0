"""Chart of prediction depth against router depth in one run: did a token need the last recursion that it took?

Pure: a trace in, a chart out.
"""

import numpy as np
import pandas as pd

from app.charts.figure import Chart, new_figure, rows_height
from app.style.theme import LINE
from app.text.words import say
from mor_core.traces.trace import Trace

_FEW, _MANY = "#dfe7f3", "#1f4e8c"  # colours of counts, not of depths


def exits_table(trace: Trace) -> pd.DataFrame:
    """Count content tokens by router depth and prediction depth, one row per possible pair."""
    pairs = [
        (token.recursion_depth, token.prediction_depth)
        for token in trace.tokens
        if not token.special and token.recursion_depth and token.prediction_depth
    ]
    levels = range(1, trace.header.num_recursions + 1)
    rows = [
        {
            "recursion_depth": depth,
            "prediction_depth": prediction,
            "num_tokens": pairs.count((depth, prediction)),
        }
        for depth in levels
        for prediction in levels
        if prediction <= depth
    ]
    table = pd.DataFrame(rows)
    total = len(pairs)
    table["share"] = table["num_tokens"] / total if total else np.nan
    return table


def prediction_against_router(trace: Trace) -> Chart | None:
    """Draw the number of tokens for each pair of depths; `None` if the run has no early exits."""
    table = exits_table(trace)
    if not table["num_tokens"].sum():
        return None
    recursions = trace.header.num_recursions
    counts = np.full((recursions, recursions), np.nan)  # (router depth, prediction depth)
    counts[table["recursion_depth"] - 1, table["prediction_depth"] - 1] = table["num_tokens"]
    levels = [str(level) for level in range(1, recursions + 1)]
    total = int(table["num_tokens"].sum())
    hover = [
        [
            say("charts.exits_hover", depth=depth, prediction=prediction, count=f"{count:.0f}")
            for prediction, count in enumerate(line, start=1)
        ]
        for depth, line in enumerate(counts, start=1)
    ]
    figure = new_figure(rows_height(recursions, row=56, extra=110))
    figure.add_heatmap(
        z=counts,
        x=levels,
        y=levels,
        text=[
            ["" if np.isnan(count) else f"{count:.0f}  ({count / total:.0%})" for count in line]
            for line in counts
        ],
        texttemplate="%{text}",
        customdata=hover,
        hovertemplate="%{customdata}<extra></extra>",
        hoverongaps=False,
        colorscale=[(0, _FEW), (1, _MANY)],
        zmin=0,
        colorbar={
            "title": {"text": say("charts.exits_tokens")},
            "outlinewidth": 0,
            "thickness": 12,
        },
        xgap=3,
        ygap=3,
    )
    for level in range(recursions):  # both depths equal: the last recursion was needed
        figure.add_shape(
            type="rect",
            x0=level - 0.5,
            x1=level + 0.5,
            y0=level - 0.5,
            y1=level + 0.5,
            line={"color": LINE, "width": 2, "dash": "dot"},
        )
    figure.update_xaxes(title_text=say("charts.exits_prediction"), type="category", showgrid=False)
    figure.update_yaxes(
        title_text=say("charts.exits_router"), type="category", autorange="reversed", showgrid=False
    )
    return Chart(figure, _finding(table), table)


def _finding(table: pd.DataFrame) -> str:
    total = int(table["num_tokens"].sum())
    earlier = table[table["prediction_depth"] < table["recursion_depth"]]["num_tokens"].sum()
    deeper = table[table["recursion_depth"] > 1]
    needed = deeper[deeper["prediction_depth"] == deeper["recursion_depth"]]["num_tokens"].sum()
    finding = say(
        "charts.exits_finding", earlier=earlier, count=total, share=f"{earlier / total:.0%}"
    )
    deep = int(deeper["num_tokens"].sum())
    if not deep:
        return finding
    return f"{finding} {say('charts.exits_finding_deep', deep=deep, needed=needed)}"
