"""Parts that several pages draw: charts with their tables, headings, choices, and lines on a run's origin."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from app.charts.figure import Chart
from app.frame import messages
from app.tables.trace_tables import to_csv
from app.text import display_tables
from app.text.display_names import named, routing_label
from app.text.words import say, term
from mor_core.checkpoints.checkpoint import CheckpointInfo
from mor_core.traces.trace import Trace

Badge = Literal["LIVE", "RECORDED"]

WINDOW = 192  # columns of a heatmap; more columns would be narrower than five pixels
_CONFIG = {"displaylogo": False, "modeBarButtonsToRemove": ["lasso2d", "select2d", "autoScale2d"]}


def show_chart(chart: Chart, *, key: str, caption: str = "") -> None:
    """Draw a chart with its finding above and its numbers in an expandable table below."""
    st.markdown(f"**{messages.as_text(chart.finding)}**")
    if isinstance(chart.figure, go.Figure):
        st.plotly_chart(chart.figure, key=key, config=_CONFIG, alt=chart.finding)
    elif chart.selection:
        st.altair_chart(
            chart.figure,
            key=key,
            alt=chart.finding,
            on_select="rerun",
            selection_mode=chart.selection,
        )
    else:
        st.altair_chart(chart.figure, key=key, alt=chart.finding)
    if caption:
        st.caption(caption)
    with st.expander(say("frame.numbers"), icon=":material/table:"):
        show_table(chart.table, key=f"{key}_table")


def show_table(table: pd.DataFrame, *, key: str, height: int | None = None) -> None:
    """Show a table in the viewer's language, with a CSV download, which is the same in all languages."""
    st.dataframe(
        display_tables.values(table),
        key=key,
        hide_index=True,
        height=height or "auto",
        column_config=_columns(table),
    )
    st.download_button(
        say("frame.download_csv"),
        lambda: to_csv(table),
        file_name=f"{key}.csv",
        mime="text/csv",
        icon=":material/download:",
        key=f"{key}_csv",
        on_click="ignore",
        type="tertiary",
    )


def _columns(table: pd.DataFrame) -> dict[str, Any]:
    formats = {str(name): display_tables.number_format(table[name]) for name in table.columns}
    return {
        name: st.column_config.NumberColumn(label, format=formats[name]) if formats[name] else label
        for name, label in display_tables.headings(table).items()
    }


def heading(text: str, *terms: str) -> None:
    """Draw a section's heading with the given glossary terms as its help text."""
    explained = "\n\n".join(map(term, terms))
    st.subheader(text, help=explained or None)


def choose_window(num_tokens: int, *, key: str) -> range:
    """Return the positions to draw in a heatmap; for a long run, let the viewer choose a window."""
    start = 0
    if num_tokens > WINDOW:
        start = st.select_slider(
            say("frame.positions"),
            list(range(0, num_tokens, WINDOW)),
            format_func=lambda first: f"{first}-{min(first + WINDOW, num_tokens) - 1}",
            key=key,
        )
    return range(start, min(start + WINDOW, num_tokens))


def choose_checkpoint(
    checkpoints: Sequence[CheckpointInfo], *, key: str, first: str | None = None
) -> CheckpointInfo:
    """Let the viewer choose a checkpoint if there are several, and return it.

    Args:
        checkpoints: at least one.
        key: the element's key.
        first: name of the initially chosen checkpoint.
    """
    if len(checkpoints) == 1:
        return checkpoints[0]
    names = [info.name for info in checkpoints]
    index = names.index(first) if first in names else 0
    name = st.selectbox(
        say("frame.checkpoint"), names, index=index, key=key, persist_state="session"
    )
    return checkpoints[names.index(name)]


def provenance(info: CheckpointInfo, *, badge: Badge | None = None) -> None:
    """Draw a line on the model and the origin of its weights, with the badge LIVE or RECORDED."""
    config, origin = info.config, info.provenance
    tokens = origin.get("num_tokens")
    counted = f"{tokens / 1e6:.1f}" if isinstance(tokens, int | float) else ""
    parts = [
        info.name,
        say("frame.recursions", count=config.get("num_recursions", 1)),
        router_name(config),
        cache_name(config),
        say("frame.trained_on", tokens=counted) if counted else "",
        say("frame.seed", seed=origin["seed"]) if "seed" in origin else "",
        f"sha256 {info.sha256[:8]}",
    ]
    _line(parts, badge)


def run_provenance(trace: Trace, badge: Badge) -> None:
    """Draw a line on a run: badge, model, routing rule, number of tokens per phase, seed and weights."""
    header = trace.header
    phases = [token.phase for token in trace.tokens]
    seed = header.sampling.get("seed")
    parts = [
        header.checkpoint,
        say("frame.recursions", count=header.num_recursions),
        say("frame.rule", rule=routing_label(header.routing)),
        say("frame.prefill", count=phases.count("prefill")),
        say("frame.decode", count=phases.count("decode")),
        "" if seed is None else say("frame.seed", seed=seed),
        f"{header.device} {header.dtype}",
        f"sha256 {header.checkpoint_sha256[:8]}",
    ]
    _line(parts, badge)


def router_name(config: Mapping[str, Any]) -> str:
    """Return the name of a model's router type in the viewer's language."""
    return _named("router", config.get("router_type", "none"))


def cache_name(config: Mapping[str, Any]) -> str:
    """Return the name of a model's KV strategy in the viewer's language."""
    return _named("cache", config.get("kv_strategy", "unknown"))


def _named(kind: str, value: object) -> str:
    return named(f"frame.{kind}_{value}", f"{kind} {value}")


def _line(parts: Sequence[str], badge: Badge | None) -> None:
    text = messages.as_text(" · ".join(part for part in parts if part))
    colour = {"LIVE": "red", "RECORDED": "gray"}
    words = f":{colour[badge]}-badge[{say(f'frame.badge_{badge.lower()}')}] " if badge else ""
    st.caption(words + text)
