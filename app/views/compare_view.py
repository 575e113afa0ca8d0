"""The Compare page's views of two runs: the finding, both runs one below the other, and the numbers."""

from collections.abc import Sequence

import streamlit as st

from app.charts import compare as compare_charts
from app.components import pair
from app.components.strip import Badge
from app.frame import messages, page_parts
from app.tables.comparison import Comparison, compare, piece_table, run_figures, shared_figures
from app.text.display_names import run_note
from app.text.words import say
from app.views import compare_words
from app.views.compare_picker import Pair
from mor_core.checkpoints.checkpoint import CheckpointInfo

FIGURES, DEPTHS, PREDICTIONS, TABLE = VIEWS = "figures", "depths", "predictions", "table"


def draw(runs: Pair, badge: Badge, checkpoints: Sequence[CheckpointInfo]) -> None:
    """Draw two runs below the sentence that states their difference.

    Args:
        runs: the runs A and B.
        badge: `LIVE` if they were computed for this viewer just now.
        checkpoints: used to look up how the models were trained.
    """
    compared = compare(*runs)
    st.markdown(f"#### {messages.as_text(compare_words.finding(compared))}")
    trained = compare_words.training_note(compared, checkpoints)
    if trained:
        st.caption(messages.as_text(trained))
    pair.draw_pair(compared, compare_words.run_names(compared), badge, key="compare_pair")
    _notes(compared)
    with st.container(horizontal=True, horizontal_alignment="distribute"):
        view = st.segmented_control(
            say("compare.view"),
            list(VIEWS),
            format_func=lambda name: say(f"compare.view_{name}"),
            default=FIGURES,
            required=True,
            key="compare_view",
            bind="query-params",
            label_visibility="collapsed",
        )
        with st.container(horizontal=True, width="content"):
            for letter, run in zip("AB", runs, strict=True):
                messages.trace_download(run, key=f"compare_download_{letter}", name=letter)
    {FIGURES: _figures, DEPTHS: _depths, PREDICTIONS: _predictions, TABLE: _table}[view or FIGURES](
        compared
    )


def _notes(compared: Comparison) -> None:
    """Show caveats on comparing these two runs."""
    notes = []
    rules = {run.header.routing["name"] for run in compared.runs}
    if compared.has_rest and "top_k" in rules:
        notes.append(say("compare.note_future"))
    if not compared.alignment.is_by_position:
        notes.append(say("compare.note_by_text"))
    if any(run.header.windows for run in compared.runs):
        notes.append(say("compare.note_windows"))
    notes += [
        f"{letter}: {run_note(run.header.title, run.header.note)}"
        for letter, run in zip("AB", compared.runs, strict=True)
        if run.header.note
    ]
    if notes:
        st.caption(messages.as_text(" ".join(notes)))


def _figures(compared: Comparison) -> None:
    page_parts.heading(
        say("compare.shared_heading"), "content token", "active FLOPs", "bits per byte"
    )
    shared = shared_figures(compared)
    st.table(compare_words.figure_table(shared).set_index(say("compare.column_figure")))
    st.caption(say("compare.shared_note"))
    complete = run_figures(compared) if compared.has_rest else []
    if complete:
        page_parts.heading(say("compare.whole_heading"))
        st.table(compare_words.figure_table(complete).set_index(say("compare.column_figure")))
        st.caption(say("compare.whole_note"))
    with st.expander(say("frame.numbers"), icon=":material/table:"):
        page_parts.show_table(compare_words.raw_table([*shared, *complete]), key="compare_figures")


def _depths(compared: Comparison) -> None:
    page_parts.heading(say("compare.depths_heading"), "recursion depth")
    chart = compare_charts.joint_depths(compared)
    if chart.table.empty:
        messages.show_info(chart.finding)
        return
    page_parts.show_chart(chart, key="compare_joint", caption=say("compare.joint_note"))


def _predictions(compared: Comparison) -> None:
    page_parts.heading(say("compare.predictions_heading"))
    chart = compare_charts.surprise_differences(compared)
    if chart.table.empty:
        messages.show_info(chart.finding)
        return
    page_parts.show_chart(chart, key="compare_surprise", caption=say("compare.surprise_note"))


def _table(compared: Comparison) -> None:
    page_parts.heading(say("compare.table_heading"))
    page_parts.show_table(piece_table(compared), key="compare_pieces", height=460)
