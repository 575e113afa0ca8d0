"""Charts of the KV cache: which tokens it keeps, its bytes after each call, and KV strategies side by side.

Pure: a trace and tables of `app.tables.cache_tables` and `app.tables.cache_capacity` in, charts out.
"""

import numpy as np
import pandas as pd

from app.charts.figure import Chart, hover_text, new_figure, ordinal_scale, rows_height
from app.charts.heatmap_parts import (
    MAX_DIGIT_COLUMNS,
    add_cells,
    add_dots,
    add_level_legend,
    mark_boundaries,
)
from app.style.theme import LINE, SERIES, UNROUTED, depth_colours, format_bytes
from app.tables.cache_capacity import MEASURED
from app.tables.cache_tables import ABSENT, LEVELS, OWN, SHARED, layer_rows, level, occupancy_table
from app.tables.costs import PLAIN
from app.tables.trace_tables import label
from app.text.display_names import slot_label
from app.text.words import say
from mor_core.traces.trace import Trace

_COLOURS = {ABSENT: "rgba(140,150,165,0.22)", OWN: SERIES[0], SHARED: SERIES[3]}


def occupancy(trace: Trace, window: range) -> Chart:
    """Draw for each layer of each recursion whether a token's cache entry is its own, shared or absent."""
    tokens = trace.tokens[window.start : window.stop]
    rows = layer_rows(trace.header)
    levels = [[level(token, row) for token in tokens] for row in rows]
    values = np.array(
        [[np.nan if what is None else LEVELS.index(what) + 1 for what in line] for line in levels],
        dtype=float,
    )  # (rows, S)
    hover = [
        [
            say(
                "kv_cache.cell_hover",
                token=hover_text(label(token)),
                position=token.position,
                row=hover_text(slot_label(row.label)),
                what=_level(what),
            )
            for token, what in zip(tokens, line, strict=True)
        ]
        for row, line in zip(rows, levels, strict=True)
    ]
    names = [slot_label(row.label) for row in rows]
    figure = new_figure(rows_height(len(rows), row=24))
    add_cells(
        figure,
        values,
        tokens,
        names,
        hover=hover,
        colorscale=ordinal_scale([_COLOURS[name] for name in LEVELS]),
        zmin=0.5,
        zmax=len(LEVELS) + 0.5,
        showscale=False,
    )
    used = {what for line in levels for what in line if what}
    add_level_legend(figure, {_level(name): _COLOURS[name] for name in LEVELS if name in used})
    if len(tokens) <= MAX_DIGIT_COLUMNS:
        kept = [
            (token.position, name)
            for name, line in zip(names, levels, strict=True)
            for token, what in zip(tokens, line, strict=True)
            if what in (OWN, SHARED)
        ]
        add_dots(figure, kept, say("kv_cache.kept"))
    mark_boundaries(figure, trace, window, names)
    table = occupancy_table(trace)
    return Chart(figure, _occupancy_finding(trace), table.iloc[window.start : window.stop])


def growth(table: pd.DataFrame, recursions: int) -> Chart:
    """Draw the measured bytes after each call, one area per recursion, and a line for a plain Transformer.

    Args:
        table: from `cache_tables.growth_table`; not empty.
        recursions: R, for the colours.
    """
    figure = new_figure(360)
    parts = [("kv_bytes_outside", say("kv_cache.outside"), UNROUTED)]
    parts += [
        (f"kv_bytes_r{number}", say("kv_cache.part_recursion", number=number), colour)
        for number, colour in enumerate(depth_colours(recursions), start=1)
        if f"kv_bytes_r{number}" in table
    ]
    for column, name, colour in parts:
        if not table[column].any():
            continue
        figure.add_scatter(
            x=table["num_tokens"],
            y=table[column] / 1024,
            mode="lines",
            stackgroup="measured",
            name=name,
            line={"color": colour, "width": 1},
            fillcolor=colour,
            customdata=[format_bytes(size) for size in table[column]],
            hovertemplate=f"{name}: %{{customdata}}<extra></extra>",
        )
    figure.add_scatter(
        x=table["num_tokens"],
        y=table["kv_bytes_plain"] / 1024,
        mode="lines",
        name=say("kv_cache.plain_counted"),
        line={"color": LINE, "width": 3, "dash": "dash"},
        customdata=[format_bytes(size) for size in table["kv_bytes_plain"]],
        hovertemplate=say("kv_cache.plain_counted") + ": %{customdata}<extra></extra>",
    )
    figure.update_layout(hovermode="x unified", showlegend=True)
    figure.update_xaxes(title_text=say("kv_cache.axis_tokens"), rangemode="tozero")
    figure.update_yaxes(title_text="KiB", rangemode="tozero")
    return Chart(figure, _growth_finding(table), table)


def strategies(table: pd.DataFrame) -> Chart:
    """Draw the bytes of a run's cache under each strategy; the measured bar is hatched and labelled."""
    figure = new_figure(rows_height(len(table), row=40, extra=70))
    names = [
        _how_name(name, how) for name, how in zip(table["strategy"], table["how"], strict=True)
    ]
    is_measured = table["how"] == MEASURED
    sizes = [format_bytes(size) for size in table["kv_bytes"]]
    figure.add_bar(
        orientation="h",
        y=names,
        x=table["kv_bytes"] / 1024,
        marker={
            "color": [SERIES[1] if measured else SERIES[0] for measured in is_measured],
            "pattern": {"shape": ["/" if measured else "" for measured in is_measured]},
        },
        text=sizes,
        textposition="outside",
        cliponaxis=False,
        hovertemplate="%{y}: %{text}<extra></extra>",
    )
    figure.update_xaxes(title_text="KiB", range=[0, table["kv_bytes"].max() / 1024 * 1.25])
    figure.update_yaxes(autorange="reversed", type="category")
    return Chart(figure, _strategies_finding(table), table)


def _occupancy_finding(trace: Trace) -> str:
    header = trace.header
    computed = [token for token in trace.tokens if token.recursion_depth is not None]
    if not computed:
        return say("kv_cache.nothing_computed")
    kept = sum(len(token.cached_slots) for token in computed)
    whole = len(computed) * len(header.cache_slots)
    values = {"kept": f"{kept:,}", "whole": f"{whole:,}", "share": f"{kept / whole:.0%}"}
    absent = sum((token.recursion_depth or 0) < header.num_recursions for token in computed)
    if any(row.is_shared for row in layer_rows(header)):
        return say(
            "kv_cache.occupancy_finding_shared",
            layers=len(layer_rows(header)),
            slots=len(header.cache_slots),
            **values,
        )
    if not absent:
        return say("kv_cache.occupancy_finding_full", **values)
    return say(
        "kv_cache.occupancy_finding",
        absent=f"{absent:,}",
        tokens=f"{len(computed):,}",
        last=header.num_recursions,
        **values,
    )


def _growth_finding(table: pd.DataFrame) -> str:
    last = table.iloc[-1]
    values = {
        "tokens": f"{int(last['num_tokens']):,}",
        "size": format_bytes(last["kv_bytes"]),
        "share": f"{last['kv_bytes'] / last['kv_bytes_plain']:.0%}",
        "plain": format_bytes(last["kv_bytes_plain"]),
    }
    finding = say("kv_cache.growth_finding", **values)
    decoded = table["kv_bytes"].diff()[table["phase"] == "decode"].dropna()
    if decoded.empty:
        return finding
    if decoded.min() == decoded.max():
        return f"{finding} {say('kv_cache.growth_even', each=format_bytes(decoded.min()))}"
    return f"{finding} " + say(
        "kv_cache.growth_decode",
        least=format_bytes(decoded.min()),
        most=format_bytes(decoded.max()),
        mean=format_bytes(decoded.mean()),
    )


def _strategies_finding(table: pd.DataFrame) -> str:
    plain = table[table["strategy"] == PLAIN]["kv_bytes"].iloc[0]
    parts = [
        say(
            "kv_cache.strategy_part",
            name=_how_name(row["strategy"], row["how"]),
            size=format_bytes(row["kv_bytes"]),
            share=f"{row['kv_bytes'] / plain:.0%}",
        )
        for row in table.to_dict("records")
        if row["strategy"] != PLAIN
    ]
    text = say(
        "kv_cache.strategies_finding",
        plain=format_bytes(plain),
        parts=say("charts.list_separator").join(parts),
    )
    return text[0].upper() + text[1:]


def strategy_name(strategy: str) -> str:
    """Return the name of a strategy of `app.tables.cache_capacity` in the viewer's language."""
    return say(f"efficiency.name_{strategy.replace(' ', '_')}")


def _how_name(strategy: str, how: str) -> str:
    return say(f"kv_cache.{how}", name=strategy_name(strategy))


def _level(what: str | None) -> str:
    return say(f"kv_cache.level_{what or 'unknown'}")
