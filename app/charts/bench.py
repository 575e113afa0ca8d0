"""Charts of the benchmarks: measured ratios beside their bounds, and speed and cache against context or slots.

Pure: tables of `app.tables.bench_results` in, charts out.
"""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from app.charts.figure import Chart, hover_text, interval, new_figure, rows_height
from app.style.theme import LINE, SERIES, format_bytes
from app.text.words import say

_LONGEST_NAME = 64
OWN_CHARTS = ("serve", "growth")
_SYMBOLS = ("circle", "square", "diamond")


def ratio_points(table: pd.DataFrame) -> Chart:
    """Draw how many times as good as its peer each result is, with the spread of rounds, the bound and the aim.

    Serving and growth have their own charts.
    """
    rows = table[
        table["times_as_good"].notna()
        & (table["unit"] != "bytes")
        & ~table["benchmark"].isin(OWN_CHARTS)
    ]
    figure = new_figure(rows_height(len(rows), row=34, extra=110))
    heights = list(range(len(rows)))
    figure.add_scatter(
        x=rows["bound_times"],
        y=heights,
        mode="markers",
        name=say("bench.bound"),
        marker={"symbol": "line-ns-open", "size": 18, "color": LINE, "line": {"width": 3}},
        hovertemplate=f"{say('bench.bound')}: %{{x:.2f}}x<extra></extra>",
    )
    figure.add_scatter(
        x=rows["aim_times"],
        y=heights,
        mode="markers",
        name=say("bench.aim"),
        marker={"symbol": "triangle-up-open", "size": 11, "color": SERIES[1]},
        hovertemplate=f"{say('bench.aim')}: %{{x:.2f}}x<extra></extra>",
    )
    figure.add_scatter(
        x=rows["times_as_good"],
        y=heights,
        mode="markers+text",
        name=say("bench.measured"),
        marker={"size": 11, "color": SERIES[0]},
        error_x=interval(rows["times_as_good"], rows["times_low"], rows["times_high"]),
        text=[f"{value:.2f}x" for value in rows["times_as_good"]],
        textposition="top center",
        customdata=[
            hover_text(f"{row.what}; {row.peer}; {row.machine}") for row in rows.itertuples()
        ],
        hovertemplate="%{customdata}: %{x:.2f}x<extra></extra>",
    )
    figure.add_vline(x=1, line={"color": LINE, "dash": "dot", "width": 1})
    figure.update_yaxes(
        tickmode="array",
        tickvals=heights,
        ticktext=[hover_text(name) for name in _names(rows)],
        autorange="reversed",
    )
    figure.update_xaxes(title_text=say("bench.ratio_axis"), rangemode="tozero")
    return Chart(figure, _finding(table, rows), table)


def serving_lines(table: pd.DataFrame) -> Chart:
    """Draw the speed ratio to the vanilla model and its bound against the slots: a panel per shape, a line per MoR-N.

    Args:
        table: from `bench_results.serving_table` of one document; not empty.
    """
    shapes = sorted(table["shape"].unique())
    labels = {slots: str(slots) for slots in sorted(table["their_slots"].unique())}
    figure = make_subplots(
        rows=1,
        cols=len(shapes),
        shared_yaxes=True,
        horizontal_spacing=0.04,
        figure=new_figure(420),
    )
    kinds = sorted(table["num_recursions"].unique())
    for column, shape in enumerate(shapes, start=1):
        for index, recursions in enumerate(kinds):
            rows = table[(table["shape"] == shape) & (table["num_recursions"] == recursions)]
            for is_equal, points in rows.groupby("equal_memory"):
                _add_serving(
                    figure, points, labels, recursions, SERIES[index], column, bool(is_equal)
                )
    figure.add_scatter(  # one legend entry for all dotted lines
        x=[None],
        y=[None],
        mode="lines+markers",
        name=say("bench.bound"),
        line={"color": LINE, "dash": "dot"},
        marker={"symbol": "line-ew-open", "size": 14},
    )
    figure.add_hline(y=1, line={"color": LINE, "dash": "dash", "width": 1})
    order = [*labels.values(), say("bench.equal_memory")]
    figure.update_xaxes(type="category", categoryorder="array", categoryarray=order)
    for column, shape in enumerate(shapes, start=1):
        figure.update_xaxes(
            title_text=say("bench.serving_axis", shape=hover_text(shape)), col=column
        )
    figure.update_yaxes(rangemode="tozero")
    figure.update_yaxes(title_text=say("bench.serving_ratio_axis"), col=1)
    return Chart(figure, _serving_finding(table), table)


def _add_serving(
    figure: go.Figure,
    points: pd.DataFrame,
    labels: dict[int, str],
    recursions: int,
    colour: str,
    column: int,
    is_equal: bool,
) -> None:
    """Add the measured ratio and the machine's bound of one MoR-N of one shape."""
    name = f"MoR-{recursions}"
    across = (
        [say("bench.equal_memory")] * len(points)
        if is_equal
        else [labels[s] for s in points["their_slots"]]
    )
    mode = "markers" if is_equal else "lines+markers"
    figure.add_scatter(
        x=across,
        y=points["bound"],
        mode=mode,
        line={"color": colour, "dash": "dot", "width": 1.5},
        marker={"symbol": "line-ew-open", "size": 14, "color": colour, "line": {"width": 2}},
        showlegend=False,
        hovertemplate=f"{name}, {hover_text(say('bench.bound'))}: %{{y:.2f}}x<extra></extra>",
        row=1,
        col=column,
    )
    figure.add_scatter(
        x=across,
        y=points["ratio"],
        error_y=interval(points["ratio"], points["ratio_low"], points["ratio_high"]),
        mode=mode,
        name=name,
        legendgroup=name,
        showlegend=column == 1 and not is_equal,
        line={"color": colour, "width": 3},
        marker={"size": 9, "color": colour, "symbol": _SYMBOLS[recursions % len(_SYMBOLS)]},
        customdata=[
            say(
                "bench.serving_hover",
                ours=point["our_slots"],
                theirs=point["their_slots"],
                repeats=point["repeats"],
            )
            for point in points.to_dict("records")
        ],
        hovertemplate=f"{name}: %{{y:.2f}}x<br>%{{customdata}}<extra></extra>",
        row=1,
        col=column,
    )


def _serving_finding(table: pd.DataFrame) -> str:
    """State how close points are to their bounds, only those whose peer is equally optimised (`counts`)."""
    counted = table[table["counts"]]
    if counted.empty:
        return say("bench.serving_none", points=len(table))
    like_paper = counted[counted["paper_ratio"].notna()]
    allowed = like_paper[like_paper["bound"] >= like_paper["paper_ratio"]]
    best = counted.loc[counted["ratio"].idxmax()]
    found = say(
        "bench.serving_finding",
        points=len(table),
        counted=len(counted),
        near=int((counted["of_bound"] >= counted["aim_of_bound"]).sum()),
        aim=f"{counted['aim_of_bound'].iloc[0]:.0%}",
        like_paper=len(like_paper),
        allowed=len(allowed),
        reached=int((like_paper["ratio"] >= like_paper["paper_ratio"]).sum()),
        best=f"{best['ratio']:.2f}",
        name=f"MoR-{best['num_recursions']}",
        shape=best["shape"],
        ours=best["our_slots"],
        theirs=best["their_slots"],
        bound=f"{best['bound']:.2f}",
    )
    elsewhere = counted[
        counted["paper_ratio"].isna() & (counted["ratio"] >= counted["published_ratio"])
    ]
    if elsewhere.empty:
        return found
    points = [
        say(
            "bench.serving_point",
            name=f"MoR-{row['num_recursions']}",
            shape=row["shape"],
            ours=row["our_slots"],
            theirs=row["their_slots"],
            ratio=f"{row['ratio']:.2f}",
            paper=f"{row['published_ratio']:.2f}",
        )
        for row in elsewhere.to_dict("records")
    ]
    return f"{found} {say('bench.serving_elsewhere', points='; '.join(points))}"


def growth_lines(table: pd.DataFrame, axis: str, quantity: str) -> Chart:
    """Draw our and the peer's tokens per second, or cache bytes, against the context or the number of slots.

    Args:
        table: from `growth_table`.
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
        at=f"{int(last[axis]):,}",
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


def _names(rows: pd.DataFrame) -> list[str]:
    """Return each row's label on an axis, with the machine if the same thing was measured on several."""
    named = zip(rows["what"], rows["machine"], rows.duplicated("what", keep=False), strict=True)
    return [
        f"{machine}: {_short(what)}" if is_one_of_several else _short(what)
        for what, machine, is_one_of_several in named
    ]


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
