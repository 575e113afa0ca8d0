"""Charts of memory: bytes of the paper's models side by side, and the largest batch for each context length.

Pure: tables of `app.tables.cache_capacity` in, charts out.
"""

import pandas as pd

from app.charts.figure import Chart, new_figure, rows_height
from app.charts.kv import strategy_name
from app.style.theme import LINE, SERIES, UNROUTED, format_bytes, text_on
from app.tables.cache_capacity import Load
from app.tables.costs import PLAIN
from app.text.words import say

_DASHES = ("solid", "dash", "dot")
_MARKERS = ("circle", "square", "diamond")


def paper_bytes(table: pd.DataFrame, load: Load) -> Chart:
    """Draw the bytes of weights and cache of the paper's models at one context and batch, one bar per strategy."""
    figure = new_figure(rows_height(len(table), row=46), barmode="stack")
    longest = table["total_bytes"].max()
    names = [strategy_name(name) for name in table["strategy"]]
    for column, colour in (("weight_bytes", UNROUTED), ("kv_bytes", SERIES[0])):
        figure.add_bar(
            orientation="h",
            y=names,
            x=table[column] / 2**30,
            name=say(f"kv_cache.{column}"),
            marker={"color": colour, "line": {"width": 1, "color": "rgba(255,255,255,0.6)"}},
            text=[format_bytes(size) if size > longest / 5 else "" for size in table[column]],
            customdata=[format_bytes(size) for size in table[column]],
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            textfont={"color": text_on(colour)},
            hovertemplate=f"%{{y}}, {say(f'kv_cache.{column}')}: %{{customdata}}<extra></extra>",
        )
    figure.add_scatter(
        x=table["total_bytes"] / 2**30,
        y=names,
        mode="text",
        text=[f" <b>{format_bytes(size)}</b>" for size in table["total_bytes"]],
        textposition="middle right",
        hoverinfo="skip",
        showlegend=False,
        cliponaxis=False,
    )
    figure.update_xaxes(title_text="GiB", range=[0, longest / 2**30 * 1.25])
    figure.update_yaxes(autorange="reversed", type="category")
    by_name = table.set_index("strategy")["kv_bytes"]
    finding = say(
        "kv_cache.paper_finding",
        size=load.size,
        recursions=load.num_recursions,
        batch=f"{load.batch:,}",
        context=f"{load.context:,}",
        wise=format_bytes(by_name["recursion-wise"]),
        wise_share=f"{by_name['recursion-wise'] / by_name[PLAIN]:.0%}",
        shared=format_bytes(by_name["shared keys"]),
        shared_share=f"{by_name['shared keys'] / by_name[PLAIN]:.0%}",
        plain=format_bytes(by_name[PLAIN]),
    )
    return Chart(figure, finding, table)


def fit_lines(curve: pd.DataFrame, fit: pd.DataFrame, load: Load, memory_gib: float) -> Chart:
    """Draw the largest batch against the context, one line per strategy, and mark the chosen context.

    Args:
        curve: from `cache_capacity.fit_curve`.
        fit: from `cache_capacity.fit_table`; the source of the finding and the table.
        load: the chosen context and batch.
        memory_gib: the chosen GPU's memory, in GiB.
    """
    figure = new_figure(400)
    for index, name in enumerate(dict.fromkeys(curve["strategy"])):
        rows = curve[(curve["strategy"] == name) & (curve["largest_batch"] > 0)]
        figure.add_scatter(
            x=rows["context"],
            y=rows["largest_batch"],
            mode="lines+markers",
            name=strategy_name(name),
            line={
                "color": LINE if name == PLAIN else SERIES[index],
                "width": 3,
                "dash": _DASHES[index % len(_DASHES)],
            },
            marker={"symbol": _MARKERS[index % len(_MARKERS)], "size": 8},
            hovertemplate=say("kv_cache.fit_hover", name=strategy_name(name)) + "<extra></extra>",
        )
    figure.add_vline(x=load.context, line={"color": LINE, "width": 1, "dash": "dot"})
    contexts = sorted(set(curve["context"]))
    figure.update_xaxes(
        type="log",
        title_text=say("kv_cache.axis_context"),
        tickvals=contexts,
        ticktext=[f"{context:,}" for context in contexts],
    )
    figure.update_yaxes(type="log", title_text=say("kv_cache.axis_batch"), dtick=1)
    figure.update_layout(showlegend=True)
    return Chart(figure, _fit_finding(fit, load, memory_gib), fit)


def _fit_finding(fit: pd.DataFrame, load: Load, memory_gib: float) -> str:
    batches = fit.set_index("strategy")["largest_batch"]
    values = {
        "memory": f"{memory_gib:g}",
        "context": f"{load.context:,}",
        "size": load.size,
        "recursions": load.num_recursions,
        **{
            name: f"{batches[strategy]:,}"
            for name, strategy in (
                ("wise", "recursion-wise"),
                ("shared", "shared keys"),
                ("plain", PLAIN),
            )
        },
    }
    if not batches[PLAIN]:
        return say("kv_cache.fit_finding_none", **values)
    return say(
        "kv_cache.fit_finding",
        wise_times=f"{batches['recursion-wise'] / batches[PLAIN]:.2f}",
        shared_times=f"{batches['shared keys'] / batches[PLAIN]:.2f}",
        **values,
    )
