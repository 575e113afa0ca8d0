"""What the pages share: charts with their twins, tables, headings and downloads."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from app import notices
from app.chart import Chart
from app.tables import to_csv
from app.words import say, term
from mor_core.checkpoint import CheckpointInfo

_CONFIG = {"displaylogo": False, "modeBarButtonsToRemove": ["lasso2d", "select2d", "autoScale2d"]}


def show_chart(chart: Chart, *, key: str, caption: str = "") -> None:
    """Draw a chart with its finding above, and its numbers in a table that opens below."""
    st.markdown(f"**{notices.as_text(chart.finding)}**")
    st.plotly_chart(chart.figure, key=key, config=_CONFIG, alt=chart.finding)
    if caption:
        st.caption(caption)
    with st.expander(say("frame.numbers"), icon=":material/table:"):
        show_table(chart.table, key=f"{key}_table")


def show_table(table: pd.DataFrame, *, key: str, height: int | None = None) -> None:
    """Show a table and offer it as CSV."""
    st.dataframe(table, key=key, hide_index=True, height=height or "auto")
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


def heading(text: str, *terms: str) -> None:
    """Write a section's heading; the terms of the glossary stand behind its question mark."""
    explained = "\n\n".join(map(term, terms))
    st.subheader(text, help=explained or None)


def choose_checkpoint(
    checkpoints: Sequence[CheckpointInfo], *, key: str, first: str | None = None
) -> CheckpointInfo:
    """Draw the choice of a checkpoint, if there is one to make, and return the chosen one.

    Args:
        checkpoints: at least one.
        key: of the element.
        first: name of the one that is chosen before anybody chooses.
    """
    if len(checkpoints) == 1:
        return checkpoints[0]
    names = [info.name for info in checkpoints]
    index = names.index(first) if first in names else 0
    name = st.selectbox(
        say("frame.checkpoint"), names, index=index, key=key, persist_state="session"
    )
    return checkpoints[names.index(name)]


def provenance(info: CheckpointInfo) -> None:
    """Write one line: which model, and where its weights come from."""
    config, origin = info.config, info.provenance
    tokens = origin.get("num_tokens")
    parts = [
        info.name,
        f"{config.get('num_recursions', 1)} recursions",
        f"router {config.get('router_type', 'unknown')}",
        f"cache {config.get('kv_strategy', 'unknown')}",
        f"trained on {tokens / 1e6:.1f}M tokens" if isinstance(tokens, int | float) else "",
        f"seed {origin['seed']}" if "seed" in origin else "",
        f"weights {info.sha256[:8]}",
    ]
    st.caption(notices.as_text(" · ".join(part for part in parts if part)))
