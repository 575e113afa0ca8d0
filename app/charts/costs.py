"""Charts of a model's costs and quality: FLOPs, KV bytes, latency, loss, training curves.

Pure: tables of `app.tables.costs` and `app.tables.result_files` in, charts out. Counted FLOPs, memory and measured time
never share a chart.
"""

import pandas as pd

from app.charts.figure import Chart, new_figure, rows_height
from app.style.theme import (
    LINE,
    SERIES,
    UNROUTED,
    depth_colours,
    format_bytes,
    format_flops,
    text_on,
)
from app.tables.costs import FULL, PLAIN, ROUTED
from app.tables.result_files import CAUSAL_RULES
from app.text.display_names import gate_label, rule_label
from app.text.words import say

_DASHES = ("solid", "dash", "dot", "dashdot")
_MARKERS = ("circle", "square", "diamond", "triangle-up", "x")
_SMALLEST_LABEL = 0.01  # width of one letter in a bar's label, as a share of the longest bar


def flops_bars(table: pd.DataFrame, num_recursions: int, num_tokens: int) -> Chart:
    """Draw the FLOPs per token of a text: the model as routed, at full depth, and a plain Transformer."""
    figure = new_figure(rows_height(3, row=48), barmode="stack")
    colours = _part_colours(num_recursions)
    models = [name for name in (ROUTED, FULL, PLAIN) if name in set(table["model"])]
    totals = table.groupby("model")["flops"].sum() / num_tokens
    for part, colour in colours.items():
        rows = table[table["part"] == part].set_index("model")["flops"] / num_tokens
        if rows.empty:
            continue
        values = [rows.get(model) for model in models]
        smallest = _SMALLEST_LABEL * len(_short(part))
        shown = [value is not None and value / totals.max() >= smallest for value in values]
        figure.add_bar(
            orientation="h",
            y=[_name(model) for model in models],
            x=[None if value is None else value / 1e6 for value in values],
            name=_part(part),
            marker={"color": colour, "line": {"width": 1, "color": "rgba(255,255,255,0.6)"}},
            text=[_short(part) if fits else "" for fits in shown],
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            textfont={"color": text_on(colour)},
            customdata=[format_flops(value) if value is not None else "" for value in values],
            hovertemplate=say("efficiency.flops_hover", part=_part(part)) + "<extra></extra>",
        )
    figure.add_scatter(
        x=[totals[model] / 1e6 for model in models],
        y=[_name(model) for model in models],
        mode="text",
        text=[f" <b>{format_flops(totals[model])}</b>" for model in models],
        textposition="middle right",
        hoverinfo="skip",
        showlegend=False,
        cliponaxis=False,
    )
    figure.update_xaxes(
        range=[0, totals.max() / 1e6 * 1.14], title_text=say("efficiency.flops_axis")
    )
    figure.update_yaxes(autorange="reversed", type="category")
    share = totals[ROUTED] / totals[FULL]
    finding = say(
        "efficiency.flops_finding",
        tokens=f"{num_tokens:,}",
        routed=format_flops(totals[ROUTED]),
        share=f"{share:.0%}",
        full=format_flops(totals[FULL]),
        plain=format_flops(totals[PLAIN]),
    )
    wide = table.pivot_table(index="part", columns="model", values="flops", sort=False)[models]
    wide.columns = [f"{name.replace(' ', '_')}_flops" for name in models]
    return Chart(figure, finding, wide.reset_index())


def kv_lines(table: pd.DataFrame) -> Chart:
    """Draw the bytes of the KV cache against the length of the text, one line per strategy."""
    figure = new_figure(330)
    names = list(dict.fromkeys(table["strategy"]))
    last = table["num_tokens"].max()
    for index, name in enumerate(names):
        rows = table[table["strategy"] == name]
        colour = LINE if name == PLAIN else SERIES[index]
        figure.add_scatter(
            x=rows["num_tokens"],
            y=rows["kv_bytes"] / 2**20,
            mode="lines+text",
            name=_name(name),
            line={"color": colour, "width": 3, "dash": _DASHES[index % len(_DASHES)]},
            text=[*[""] * (len(rows) - 1), f" {_name(name)}"],
            textposition="middle right",
            cliponaxis=False,
            customdata=[format_bytes(size) for size in rows["kv_bytes"]],
            hovertemplate=say("efficiency.kv_hover", name=_name(name)) + "<extra></extra>",
        )
    figure.update_layout(showlegend=False, margin={"l": 8, "r": 130, "t": 8, "b": 8})
    figure.update_xaxes(title_text=say("efficiency.kv_axis"), range=[0, last])
    figure.update_yaxes(title_text="MiB", rangemode="tozero")
    at_end = table[table["num_tokens"] == last].set_index("strategy")["kv_bytes"]
    parts = [
        f"{_name(name)} {format_bytes(at_end[name])} ({at_end[name] / at_end[PLAIN]:.0%})"
        for name in names
        if name != PLAIN
    ]
    finding = say(
        "efficiency.kv_finding",
        tokens=f"{last:,}",
        parts=say("charts.list_separator").join(parts),
        plain=format_bytes(at_end[PLAIN]),
    )
    wide = table.pivot(index="num_tokens", columns="strategy", values="kv_bytes")[names]
    wide.columns = [f"{name.replace(' ', '_').replace('-', '_')}_kv_bytes" for name in names]
    return Chart(figure, finding, wide.reset_index())


def latency_by_depth(table: pd.DataFrame, num_recursions: int) -> Chart:
    """Draw the latency of decode steps by depth: median, quartiles, and the range of 90% of the calls."""
    figure = new_figure(rows_height(num_recursions, row=40, extra=90))
    summary = _latency_summary(table)
    for _, row in summary.iterrows():
        colour = depth_colours(num_recursions)[int(row["recursion_depth"]) - 1]
        name = say("efficiency.speed_depth", depth=f"{row['recursion_depth']:.0f}")
        figure.add_box(
            orientation="h",
            y=[name],
            q1=[row["quartile_1_ms"]],
            median=[row["median_ms"]],
            q3=[row["quartile_3_ms"]],
            lowerfence=[row["percentile_5_ms"]],
            upperfence=[row["percentile_95_ms"]],
            name=name,
            line={"color": LINE, "width": 2},
            fillcolor=colour,
            hoverinfo="x",
        )
    figure.update_layout(showlegend=False)
    figure.update_xaxes(
        title_text=say("efficiency.speed_axis"),
        rangemode="tozero",
    )
    figure.update_yaxes(autorange="reversed", type="category")
    if len(summary) < 2:
        return Chart(figure, say("efficiency.speed_one_depth"), summary)
    first, last = summary.iloc[0], summary.iloc[-1]
    finding = say(
        "efficiency.speed_finding",
        first=f"{first.recursion_depth:.0f}",
        first_ms=f"{first.median_ms:.1f}",
        first_n=f"{first.num_calls:.0f}",
        last=f"{last.recursion_depth:.0f}",
        last_ms=f"{last.median_ms:.1f}",
        last_n=f"{last.num_calls:.0f}",
        ratio=f"{last.median_ms / first.median_ms:.2f}",
    )
    return Chart(figure, finding, summary)


def quality_points(table: pd.DataFrame) -> Chart:
    """Draw the loss against the active FLOPs, one point per routing rule."""
    figure = new_figure(430)
    looks = [("circle", "top center"), ("square-open", "bottom center")]
    for index, (gate, rows) in enumerate(table.groupby("gate", sort=False)):
        symbol, text_position = looks[index % len(looks)]
        figure.add_scatter(
            x=rows["active_flops_per_token"] / 1e6,
            y=rows["bits_per_byte"],
            mode="markers+text",
            name=say("efficiency.quality_gate", gate=gate_label(str(gate))),
            marker={
                "size": 12,
                "color": SERIES[index % len(SERIES)],
                "symbol": symbol,
                "line": {"width": 2},
            },
            text=rows["routing"].map(rule_label),
            textposition=text_position,
            cliponaxis=False,
            customdata=rows[["nll_nats_per_token", "mean_recursion_depth"]],
            hovertemplate=say("efficiency.quality_hover") + "<extra></extra>",
        )
    figure.update_xaxes(title_text=say("efficiency.axis_active_mflops"))
    figure.update_yaxes(title_text=say("efficiency.quality_axis"))
    return Chart(figure, _quality_finding(table), table)


def _quality_finding(table: pd.DataFrame) -> str:
    causal = table[table["routing"].isin(CAUSAL_RULES)]
    if causal.empty:
        return say("efficiency.quality_no_causal")
    row = causal.iloc[0]
    finding = say(
        "efficiency.quality_finding",
        bits=f"{row.bits_per_byte:.3f}",
        nll=f"{row.nll_nats_per_token:.3f}",
        perplexity=f"{row.perplexity:.1f}",
        depth=f"{row.mean_recursion_depth:.2f}",
        share=f"{row.active_flops_per_token / row.full_depth_flops_per_token:.0%}",
    )
    once = table[(table["routing"] == "fixed:1") & (table["gate"] == "learned")]
    if once.empty:
        return finding
    more = once.iloc[0].bits_per_byte - row.bits_per_byte
    saved = 1 - once.iloc[0].active_flops_per_token / row.active_flops_per_token
    key = "efficiency.quality_once_more" if more >= 0 else "efficiency.quality_once_fewer"
    return f"{finding} {say(key, bits=f'{abs(more):.3f}', saved=f'{saved:.0%}')}"


def training_curve(table: pd.DataFrame, columns: dict[str, str], unit: str) -> Chart:
    """Draw columns of a training log against the tokens trained on.

    Args:
        table: from `app.tables.result_files.training_table`.
        columns: column to its name in the legend. A missing column or missing steps are left out.
        unit: unit of the y axis.
    """
    figure = new_figure(340)
    shown = {column: name for column, name in columns.items() if column in table}
    parts = []
    for index, (column, name) in enumerate(shown.items()):
        rows = table[["tokens", "step", column]].dropna()
        sparse = len(rows) < len(table) / 2
        figure.add_scatter(
            x=rows["tokens"] / 1e6,
            y=rows[column],
            mode="lines+markers" if sparse else "lines",
            name=name,
            line={"color": SERIES[index % len(SERIES)], "width": 3 if sparse else 1.5},
            marker={"symbol": _MARKERS[index % len(_MARKERS)], "size": 8},
            customdata=rows["step"],
            hovertemplate=say("efficiency.training_hover", name=name) + "<extra></extra>",
        )
        if len(rows):
            parts.append(f"{name} {rows[column].iloc[-1]:.4g}")
    figure.update_xaxes(title_text=say("efficiency.training_axis"))
    figure.update_yaxes(title_text=unit)
    figure.update_layout(showlegend=True)
    finding = say("efficiency.training_nothing")
    if parts:
        finding = say(
            "efficiency.training_finding", parts=say("charts.list_separator").join(parts), unit=unit
        )
    return Chart(figure, finding, table[["step", "tokens", *shown]])


def _latency_summary(table: pd.DataFrame) -> pd.DataFrame:
    grouped = table.groupby("recursion_depth")["latency_s"]
    quantiles = {
        "percentile_5": 0.05,
        "quartile_1": 0.25,
        "median": 0.5,
        "quartile_3": 0.75,
        "percentile_95": 0.95,
    }
    columns = {f"{name}_ms": grouped.quantile(share) * 1000 for name, share in quantiles.items()}
    summary = pd.DataFrame({"num_calls": grouped.size(), **columns}).reset_index()
    return summary[summary["recursion_depth"] > 0].reset_index(drop=True)


def _short(part: str) -> str:
    return part.replace("recursion ", "R") if part.startswith("recursion ") else _part(part)


def _part_colours(num_recursions: int) -> dict[str, str]:
    recursions = {
        f"recursion {index}": colour
        for index, colour in enumerate(depth_colours(num_recursions), start=1)
    }
    return {
        "prelude": UNROUTED,
        "unshared layers": UNROUTED,
        **recursions,
        "coda": UNROUTED,
        "router": SERIES[1],
        "head": "#a7adb7",
    }


def _name(key: str) -> str:
    """Return the name of a model or strategy of `app.tables.costs` in the viewer's language."""
    return say(f"efficiency.name_{key.replace(' ', '_')}")


def _part(key: str) -> str:
    """Return the name of a model's part in the viewer's language."""
    kind, _, number = key.partition(" ")
    if kind == "recursion":
        return say("efficiency.part_recursion", number=number)
    return say(f"efficiency.part_{key.replace(' ', '_')}")
