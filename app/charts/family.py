"""Charts of all checkpoints: quality against one cost at a time, validation curves, and the threshold's trade-off.

Pure: tables of `app.tables.family_results` in, charts out.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from app.charts.figure import Chart, hover_text, interval, new_figure
from app.style.theme import LINE, SERIES, format_bytes, format_flops
from app.tables.family_results import SPEEDS
from app.text.display_names import column_label
from app.text.words import say

COSTS = {
    "training_flops": format_flops,
    "tokens": lambda count: f"{count / 1e6:.1f}M",
    "parameters": lambda count: f"{count / 1e6:.2f}M",
    "active_flops_per_token": format_flops,
    "kv_bytes_per_token": format_bytes,
    "training_tokens_per_s": lambda rate: f"{rate:,.0f}",
    "decode_tokens_per_s": lambda rate: f"{rate:,.0f}",
}
_MARKERS = (  # shapes that both Altair and Plotly have
    "circle",
    "square",
    "diamond",
    "triangle-up",
    "cross",
    "triangle-down",
    "triangle-left",
    "triangle-right",
)
MAX_LABELS = 6
_HEIGHT = 420
_LEGEND_COLUMNS, _LEGEND_ROW = 4, 22  # columns, and pixels per row
VALIDATION = "validation_nll_causal_nats_per_token"


def costs_of(table: pd.DataFrame) -> list[str]:
    """Return the costs that are known for at least one member."""
    return [cost for cost in COSTS if table[cost].notna().any()]


def member_marker(index: int) -> dict[str, str]:
    """Return the colour and symbol of a member by index: eight colours, with other symbols once the colours repeat."""
    cycle, colour = divmod(index, len(SERIES))
    return {"color": SERIES[colour], "symbol": _MARKERS[(colour + cycle) % len(_MARKERS)]}


def pareto(table: pd.DataFrame, cost: str, gap: float | None) -> Chart:
    """Draw bits per byte with intervals against one cost; a line joins the Pareto front.

    Points are labelled with names. With many members, only those on the front keep their label; the others show it when
    the pointer is on them. The member under the pointer is highlighted.
    """
    table = table[table[cost].notna()]  # speed is not measured for all
    best = frontier(table, cost)
    rounds = [f"{cost}_low", f"{cost}_high"] if cost in SPEEDS else []
    few = len(table) <= MAX_LABELS  # more names would overlap
    data = table.assign(
        cost=[_written(row, cost, rounds) for row in table.to_dict("records")],
        is_best=table["name"].isin(best),
        is_named=few | table["name"].isin(best),
    )
    line = alt.Chart(data).transform_filter(alt.datum.is_best)
    line = line.mark_line(color=LINE, strokeDash=[2, 3]).encode(x=_cost_axis(cost), y=_loss_axis())
    figure = alt.layer(line, *_members(data, cost, rounds)).resolve_scale(color="shared")
    height = _HEIGHT if few else _HEIGHT + _LEGEND_ROW * math.ceil(len(table) / _LEGEND_COLUMNS)
    columns = ["name", cost, *rounds, "bits_per_byte", "bits_per_byte_low", "bits_per_byte_high"]
    return Chart(figure.properties(height=height), _finding(table, cost, best, gap), table[columns])


def _cost_axis(cost: str) -> alt.X:
    axis = alt.Axis(format="~s", grid=False, tickCount=8)
    title = say(f"efficiency.cost_{cost}")
    return alt.X(f"{cost}:Q", title=title, axis=axis, scale=alt.Scale(zero=True))


def _loss_axis() -> alt.Y:
    title = say("efficiency.axis_bits_per_byte")
    return alt.Y("bits_per_byte:Q", title=title, scale=alt.Scale(zero=False, nice=True))


def _members(data: pd.DataFrame, cost: str, rounds: Sequence[str]) -> list[alt.Chart]:
    """Return the layers of bars, points and names; the member under the pointer is highlighted."""
    pointed = alt.selection_point(
        name="pointed", fields=["name"], on="pointerover", clear="pointerout"
    )
    names = data["name"].tolist()
    looks = [member_marker(index) for index in range(len(names))]
    colours = alt.Scale(domain=names, range=[look["color"] for look in looks])
    shapes = alt.Scale(domain=names, range=[look["symbol"] for look in looks])
    legend = None
    if len(names) > MAX_LABELS:
        legend = alt.Legend(title=None, orient="bottom", columns=_LEGEND_COLUMNS, labelLimit=240)
    colour = alt.Color("name:N", scale=colours, legend=legend)
    tooltips = {
        "title:N": column_label("name"),
        "cost:N": say(f"efficiency.cost_{cost}"),
        **{
            f"{name}:Q": column_label(name)
            for name in ("bits_per_byte", "bits_per_byte_low", "bits_per_byte_high")
        },
    }
    base = alt.Chart(data).encode(color=colour)
    seen = alt.when(pointed).then(alt.value(1)).otherwise(alt.value(0.2))
    hidden = alt.when(pointed, empty=False).then(alt.value(1)).otherwise(alt.value(0))
    faint = alt.when(pointed, empty=False).then(alt.value(1)).otherwise(alt.value(0.3))
    bars = [
        base.mark_rule().encode(
            x=_cost_axis(cost), y="bits_per_byte_low:Q", y2="bits_per_byte_high:Q", opacity=faint
        )
    ]
    if rounds:
        low, high = rounds
        bars.append(
            base.mark_rule().encode(x=f"{low}:Q", x2=f"{high}:Q", y=_loss_axis(), opacity=faint)
        )
    points = (
        base.mark_point(size=110, filled=True)
        .encode(
            x=_cost_axis(cost),
            y=_loss_axis(),
            shape=alt.Shape("name:N", scale=shapes, legend=legend),
            opacity=seen,
            tooltip=[
                alt.Tooltip(name, title=title, format=".4f" if name.endswith(":Q") else "")
                for name, title in tooltips.items()
            ],
        )
        .add_params(pointed)
    )
    return [*bars, points, *_names(base, data, cost, seen, hidden)]


def _names(
    base: alt.Chart, data: pd.DataFrame, cost: str, seen: Any, hidden: Any
) -> list[alt.Chart]:
    """Return the layers of names: those always shown, and those shown when the pointer is on their point."""
    is_left = (
        data[cost] <= 0.7 * data[cost].max()
    )  # on the right, a name goes to the left of its point
    found = []
    for is_named, opacity in ((True, seen), (False, hidden)):
        those = data["is_named"] == is_named
        if (those & is_left).any():
            left = base.properties(data=data[those & is_left])
            found.append((left.mark_text(align="left", dx=6, dy=-10), opacity))
        if (those & ~is_left).any():
            right = base.properties(data=data[those & ~is_left])
            found.append((right.mark_text(align="right", dx=-6, dy=-10), opacity))
    return [
        text.encode(x=_cost_axis(cost), y=_loss_axis(), text="name:N", opacity=opacity)
        for text, opacity in found
    ]


def _written(row: Mapping[str, Any], cost: str, rounds: Sequence[str]) -> str:
    """Format a cost; for a speed, also its slowest and fastest round."""
    texts = [COSTS[cost](row[name]) for name in (cost, *rounds)]
    return f"{texts[0]} ({texts[1]} - {texts[2]})" if rounds else texts[0]


def curves(logs: dict[str, pd.DataFrame]) -> Chart:
    """Draw the validation loss of every checkpoint against its training FLOPs so far.

    Args:
        logs: checkpoint name to its table from `app.tables.result_files.training_table`.
    """
    figure = new_figure(400)
    rows = []
    for index, (name, log) in enumerate(logs.items()):
        if VALIDATION not in log:
            continue
        points = log[["step", "tokens", "training_flops", VALIDATION]].dropna()
        figure.add_scatter(
            x=points["training_flops"],
            y=points[VALIDATION],
            mode="lines+markers",
            name=hover_text(name),
            line={"color": member_marker(index)["color"], "width": 2},
            marker={"symbol": member_marker(index)["symbol"], "size": 7},
            customdata=points["tokens"] / 1e6,
            hovertemplate=f"{hover_text(name)}<br>%{{y:.4f}}, %{{x:.3g}} FLOP, "
            "%{customdata:.1f}M<extra></extra>",
        )
        rows.append(points.assign(name=name))
    figure.update_xaxes(title_text=say("efficiency.cost_training_flops"))
    figure.update_yaxes(title_text=say("efficiency.axis_validation"))
    table = pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()
    last = [f"{group['name'].iloc[0]} {group[VALIDATION].iloc[-1]:.4f}" for group in rows]
    return Chart(
        figure,
        say("efficiency.curves_finding", last=say("charts.list_separator").join(last)),
        table,
    )


def frontier(table: pd.DataFrame, cost: str) -> list[str]:
    """Return the members on the Pareto front of quality and cost."""
    sign = -1 if cost in SPEEDS else 1
    found = []
    for _, row in table.iterrows():
        no_worse = (sign * table[cost] <= sign * row[cost]) & (
            table["bits_per_byte"] <= row["bits_per_byte"]
        )
        better = (sign * table[cost] < sign * row[cost]) | (
            table["bits_per_byte"] < row["bits_per_byte"]
        )
        if not (no_worse & better).any():
            found.append(str(row["name"]))
    return found


def sweep(table: pd.DataFrame) -> Chart:
    """Draw the loss against active FLOPs, one point per threshold."""
    figure = new_figure(380)
    figure.add_scatter(
        x=table["active_flops_per_token"] / 1e6,
        y=table["nll"],
        error_y=interval(
            table["nll"], table["nll_low"], table["nll_high"], color=LINE, thickness=1
        ),
        mode="lines+markers+text",
        text=[f"{logit:+g}" for logit in table["threshold_logit"]],
        textposition="top center",
        line={"color": SERIES[0]},
        marker={"size": 9},
        customdata=table[["threshold_logit", "mean_depth"]].to_numpy(),
        hovertemplate=say("efficiency.sweep_hover") + "<extra></extra>",
        showlegend=False,
    )
    figure.update_xaxes(title_text=say("efficiency.axis_active_mflops"))
    figure.update_yaxes(title_text=say("efficiency.axis_nll"))
    best = table.loc[table["nll"].idxmin()]
    own = table[table["threshold_logit"] == 0].iloc[0]
    finding = say(
        "efficiency.sweep_finding",
        best=f"{best['threshold_logit']:+g}",
        nll=f"{best['nll']:.4f}",
        own=f"{own['nll']:.4f}",
        cheaper=f"{1 - own['active_flops_per_token'] / table['active_flops_per_token'].max():.0%}",
        documents=int(own["num_documents"]),
    )
    return Chart(figure, finding, table)


def _finding(table: pd.DataFrame, cost: str, best: list[str], gap: float | None) -> str:
    """State the members on the Pareto front, and the gap between seeds, within which no order is claimed."""
    lowest = table.loc[table["bits_per_byte"].idxmin()]
    text = say(
        "efficiency.pareto_finding",
        name=lowest["name"],
        bits=f"{lowest['bits_per_byte']:.4f}",
        cost=COSTS[cost](lowest[cost]),
        frontier=say("charts.list_separator").join(best),
    )
    if gap is None:
        return f"{text} {say('efficiency.no_seeds')}"
    near = table[table["nll_nats_per_token"] <= lowest["nll_nats_per_token"] + gap]["name"]
    others = say("charts.list_separator").join(name for name in near if name != lowest["name"])
    if others:
        text += f" {say('efficiency.within_gap', names=others, name=lowest['name'])}"
    return f"{text} {say('efficiency.seed_gap', gap=f'{gap:.4f}')}"
