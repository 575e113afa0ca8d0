"""What the pages share: charts with their twins, tables, headings and downloads."""

import pandas as pd
import streamlit as st

from app import notices
from app.chart import Chart
from app.tables import to_csv
from app.wording import GLOSSARY

_CONFIG = {"displaylogo": False, "modeBarButtonsToRemove": ["lasso2d", "select2d", "autoScale2d"]}


def show_chart(chart: Chart, *, key: str, caption: str = "") -> None:
    """Draw a chart with its finding above, and its numbers in a table that opens below."""
    st.markdown(f"**{notices.as_text(chart.finding)}**")
    st.plotly_chart(chart.figure, key=key, config=_CONFIG, alt=chart.finding)
    if caption:
        st.caption(caption)
    with st.expander("Numbers", icon=":material/table:"):
        show_table(chart.table, key=f"{key}_table")


def show_table(table: pd.DataFrame, *, key: str, height: int | None = None) -> None:
    """Show a table and offer it as CSV."""
    st.dataframe(table, key=key, hide_index=True, height=height or "auto")
    st.download_button(
        "Download CSV",
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
    explained = "\n\n".join(f"**{term.capitalize()}**: {GLOSSARY[term]}" for term in terms)
    st.subheader(text, help=explained or None)
