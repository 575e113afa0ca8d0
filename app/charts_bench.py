"""Measured speed beside its bound, and what grows with the context or the slots, as charts.

Pure: tables of `app.bench_results` in, charts out.
"""

import pandas as pd

from app.chart import Chart, hover_text, interval, new_figure, rows_height
from app.theme import LINE, SERIES, format_bytes
from app.words import say

_LONGEST_NAME = 64


def ratio_points(table: pd.DataFrame) -> Chart:
    """Draw how many times as good as its peer each result is, with the spread of its rounds, the bound and the aim."""
    rows = table[table["times_as_good"].notna() & (table["unit"] != "bytes")]
    figure = new_figure(rows_height(len(rows), row=34, extra=110))
    places = list(range(len(rows)))
    figure.add_scatter(
        x=rows["bound_times"],
        y=places,
        mode="markers",
        name=say("bench.bound"),
        marker={"symbol": "line-ns-open", "size": 18, "color": LINE, "line": {"width": 3}},
        hovertemplate=f"{say('bench.bound')}: %{{x:.2f}}x<extra></extra>",
    )
    figure.add_scatter(
        x=rows["aim_times"],
        y=places,
        mode="markers",
        name=say("bench.aim"),
        marker={"symbol": "triangle-up-open", "size": 11, "color": SERIES[1]},
        hovertemplate=f"{say('bench.aim')}: %{{x:.2f}}x<extra></extra>",
    )
    figure.add_scatter(
        x=rows["times_as_good"],
        y=places,
        mode="markers+text",
        name=say("bench.measured"),
        marker={"size": 11, "color": SERIES[0]},
        error_x=interval(rows["times_as_good"], rows["times_low"], rows["times_high"]),
        text=[f"{value:.2f}x" for value in rows["times_as_good"]],
        textposition="top center",
        customdata=[hover_text(f"{row.what}; {row.peer}") for row in rows.itertuples()],
        hovertemplate="%{customdata}: %{x:.2f}x<extra></extra>",
    )
    figure.add_vline(x=1, line={"color": LINE, "dash": "dot", "width": 1})
    figure.update_yaxes(
        tickmode="array",
        tickvals=places,
        ticktext=[hover_text(_short(name)) for name in rows["what"]],
        autorange="reversed",
    )
    figure.update_xaxes(title_text=say("bench.ratio_axis"), rangemode="tozero")
    return Chart(figure, _finding(table, rows), table)


def growth_lines(table: pd.DataFrame, axis: str, quantity: str) -> Chart:
    """Draw tokens a second or the bytes of the cache against what grows, ours and the peer's.

    Args:
        table: of `growth_table`.
        axis: `context` or `slots`.
        quantity: `tokens_per_s` or `kv_bytes`.
    """
    figure = new_figure(320)
    scale = 2**20 if quantity == "kv_bytes" else 1
    names = {"our": say("bench.mor"), "their": say("bench.vanilla")}
    for index, (side, name) in enumerate(names.items()):
        figure.add_scatter(
            x=table[axis],
            y=table[f"{side}_{quantity}"] / scale,
            mode="lines+markers",
            name=name,
            line={"color": SERIES[index], "width": 3, "dash": ("solid", "dash")[index]},
            marker={"size": 8, "symbol": ("circle", "square")[index]},
            hovertemplate=f"{hover_text(name)}, %{{x:,}}: %{{y:.4g}}<extra></extra>",
        )
    figure.update_xaxes(
        type="log",
        tickmode="array",
        tickvals=list(table[axis]),
        ticktext=[f"{v:,}" for v in table[axis]],
        title_text=say(f"bench.{axis}_axis"),
    )
    figure.update_yaxes(title_text=say(f"bench.{quantity}_axis"), rangemode="tozero")
    last = table.iloc[-1]
    ours, theirs = last[f"our_{quantity}"], last[f"their_{quantity}"]
    shown = format_bytes if quantity == "kv_bytes" else (lambda value: f"{value:,.1f}")
    finding = say(
        f"bench.{quantity}_finding",
        place=f"{int(last[axis]):,}",
        unit=say(f"bench.{axis}_unit"),
        ours=shown(ours),
        theirs=shown(theirs),
        ratio=f"{ours / theirs:.2f}",
    )
    return Chart(figure, finding, table)


def _finding(table: pd.DataFrame, rows: pd.DataFrame) -> str:
    aims = table[table["aim"].notna()]
    reached = int((aims["reached"] == True).sum())  # noqa: E712  the column holds None too
    if rows.empty:
        return say("bench.finding_no_peer", reached=reached, aims=len(aims))
    best = rows.loc[rows["times_as_good"].idxmax()]
    return say(
        "bench.finding",
        reached=reached,
        aims=len(aims),
        times=f"{best['times_as_good']:.2f}",
        peer=best["peer"],
        what=best["what"],
    )


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
