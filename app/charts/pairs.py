"""Charts of paired comparisons: members on the same documents, and two seeds of one recipe.

Pure: tables of `app.tables.family_results` in, charts out.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from app.charts.figure import Chart, hover_text, interval, new_figure, rows_height
from app.style.theme import LINE, SERIES
from app.tables.family_results import verdicts
from app.text import display_tables
from app.text.words import say

_SYMBOLS = {"better": "circle", "worse": "square", "open": "circle-open"}
_COLOURS = {"better": SERIES[0], "worse": SERIES[1], "open": LINE}


def differences(table: pd.DataFrame, reference: str, gap: float | None) -> Chart:
    """Draw each member's loss minus the reference's, with intervals and the band between two seeds.

    Args:
        table: from `differences_table`.
        reference: name of the member at zero.
        gap: loss gap between two seeds of one recipe, in nats; `None` if no recipe has two.
    """
    table = table.assign(verdict=verdicts(table, gap))
    figure = new_figure(rows_height(len(table), row=34))
    if gap is not None:
        figure.add_vrect(x0=-gap, x1=gap, fillcolor=LINE, opacity=0.25, line_width=0)
    figure.add_vline(x=0, line={"color": LINE, "width": 1})
    for verdict, group in table.groupby("verdict", sort=False):
        figure.add_scatter(
            x=group["more_nats"],
            y=group["name"].map(hover_text),
            error_x=interval(group["more_nats"], group["low"], group["high"]),
            mode="markers",
            name=say(f"efficiency.verdict_{verdict}"),
            marker={"size": 11, "symbol": _SYMBOLS[str(verdict)], "color": _COLOURS[str(verdict)]},
            customdata=group[["low", "high"]].to_numpy(),
            hovertemplate="%{y}<br>%{x:+.4f} (%{customdata[0]:+.4f}, %{customdata[1]:+.4f})<extra></extra>",
            showlegend=True,
        )
    figure.update_xaxes(title_text=say("efficiency.axis_more_nats", reference=reference))
    figure.update_yaxes(categoryorder="array", categoryarray=table["name"].tolist()[::-1])
    return Chart(figure, _differences_finding(table, reference, gap), table)


def _differences_finding(table: pd.DataFrame, reference: str, gap: float | None) -> str:
    if gap is None:
        shown = say("charts.list_separator").join(
            f"{row['name']} {row['more_nats']:+.4f} ({row['low']:+.4f}, {row['high']:+.4f})"
            for row in table.to_dict("records")
        )
        finding = say("efficiency.differences_finding", reference=reference, shown=shown)
        return f"{finding} {say('efficiency.no_seeds')}"
    names = {
        verdict: say("charts.list_separator").join(table.loc[table["verdict"] == verdict, "name"])
        or "-"
        for verdict in _SYMBOLS
    }
    return say("efficiency.verdicts_finding", reference=reference, gap=f"{gap:.4f}", **names)


def seed_depths(table: pd.DataFrame, pair: Mapping[str, Any]) -> Chart:
    """Draw the mean depth of each class of tokens under two seeds.

    Args:
        table: from `seeds_table`.
        pair: the two seeds' entry in the family file.
    """
    figure = new_figure(rows_height(len(table)))
    for index, name in enumerate(pair["names"]):
        figure.add_scatter(
            x=table[name],
            y=display_tables.values(table)["token_class"],
            mode="markers",
            name=hover_text(name),
            marker={"size": 10, "symbol": ("circle", "square-open")[index], "color": SERIES[index]},
            hovertemplate="%{y}<br>%{x:.3f}<extra></extra>",
        )
    figure.update_xaxes(title_text=say("efficiency.axis_mean_depth"))
    figure.update_yaxes(autorange="reversed")
    classes, types = pair["classes"], pair["token_types"]
    finding = say(
        "efficiency.seeds_finding",
        first=pair["names"][0],
        second=pair["names"][1],
        alike=classes["pairs_in_the_same_order"],
        pairs=classes["pairs"],
        classes=_number(classes["rank_correlation"]),
        types=_number(types["rank_correlation"]),
        num_types=types["num_common"],
        positions=_number(pair["positions"]["rank_correlation"]),
    )
    return Chart(figure, finding, table)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
