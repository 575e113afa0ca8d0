"""Charts of the family: quality against one cost at a time, and what the threshold trades.

Pure: tables of `app.tables.family_results` in, charts out.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from app.charts.figure import Chart, hover_text, interval, new_figure
from app.style.theme import LINE, SERIES, format_bytes, format_flops
from app.tables.family_results import SPEEDS
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
_MARKERS = ("circle", "square", "diamond", "triangle-up", "cross", "star", "hexagon", "pentagon")
MOST_LABELS = 6
_LEGEND_ROW = 10  # pixels that a member adds to the legend, two or three beside each other
VALIDATION = "validation_nll_causal_nats_per_token"


def costs_of(table: pd.DataFrame) -> list[str]:
    """Return the costs that are known of at least one member."""
    return [cost for cost in COSTS if table[cost].notna().any()]


def member_marker(index: int) -> dict[str, str]:
    """Return colour and symbol of a member by its place: eight colours, and other symbols once they repeat."""
    turns, place = divmod(index, len(SERIES))
    return {"color": SERIES[place], "symbol": _MARKERS[(place + turns) % len(_MARKERS)]}


def pareto(table: pd.DataFrame, cost: str, gap: float | None) -> Chart:
    """Draw bits per byte with intervals against one cost; a line joins what nothing beats in both."""
    table = table[table[cost].notna()]  # speed is not measured for all
    labelled = len(table) <= MOST_LABELS  # names beside more points than that lie on each other
    figure = new_figure(420 if labelled else 420 + _LEGEND_ROW * len(table))
    best = frontier(table, cost)
    line = table[table["name"].isin(best)].sort_values(cost)
    rounds = [f"{cost}_low", f"{cost}_high"] if cost in SPEEDS else []
    figure.add_scatter(
        x=line[cost],
        y=line["bits_per_byte"],
        mode="lines",
        line={"color": LINE, "dash": "dot", "width": 2},
        name=say("efficiency.frontier"),
        hoverinfo="skip",
    )
    for index, row in enumerate(table.to_dict("records")):
        bits = [table[f"bits_per_byte{end}"].iloc[[index]] for end in ("", "_low", "_high")]
        figure.add_scatter(
            x=[row[cost]],
            y=bits[0],
            error_y=interval(*bits, **({} if labelled else _faint(index))),
            error_x=interval(*(table[name].iloc[[index]] for name in (cost, *rounds)))
            if rounds
            else None,
            mode="markers+text" if labelled else "markers",
            text=[hover_text(row["name"])],
            textposition="top left" if row[cost] > 0.7 * table[cost].max() else "top right",
            name=hover_text(row["name"]),
            showlegend=not labelled,
            marker={"size": 12, **member_marker(index)},
            hovertemplate=(
                f"{hover_text(row['title'])}<br>{row['bits_per_byte']:.4f} "
                f"({row['bits_per_byte_low']:.4f} - {row['bits_per_byte_high']:.4f})<br>"
                f"{_written(row, cost, rounds)}<extra></extra>"
            ),
            cliponaxis=False,
        )
    figure.update_xaxes(title_text=say(f"efficiency.cost_{cost}"), rangemode="tozero")
    figure.update_yaxes(title_text=say("efficiency.axis_bits_per_byte"))
    columns = ["name", cost, *rounds, "bits_per_byte", "bits_per_byte_low", "bits_per_byte_high"]
    return Chart(figure, _finding(table, cost, best, gap), table[columns])


def _faint(index: int) -> dict[str, Any]:
    """Return the look of a member's bars where many lie on each other: markers must stay in sight."""
    return {"color": f"{member_marker(index)['color']}59", "thickness": 1, "width": 2}


def _written(row: Mapping[str, Any], cost: str, rounds: Sequence[str]) -> str:
    """Write a cost, of a speed also its slowest and its fastest round."""
    texts = [COSTS[cost](row[name]) for name in (cost, *rounds)]
    return f"{texts[0]} ({texts[1]} - {texts[2]})" if rounds else texts[0]


def curves(logs: dict[str, pd.DataFrame]) -> Chart:
    """Draw the validation loss of every run against the training FLOPs spent so far.

    Args:
        logs: tables of `app.tables.result_files.training_table` by the checkpoint's name.
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
    """Return the members that no other beats in both quality and cost."""
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
    """Draw the loss against active FLOPs, one point a threshold."""
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
    """Say which members nothing beats, and how far apart seeds lie: no order is claimed within that gap."""
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
