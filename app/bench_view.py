"""The Efficiency page's benchmarks: what was measured on the project's machine, and a short one on this server."""

import streamlit as st

from app import (
    bench_job,
    bench_results,
    charts_bench,
    charts_profile,
    frame,
    loading,
    notices,
    state,
)
from app.words import say
from mor_core.checkpoint import checkpoint_root

POLL_S = 0.4
SHORT = "prefill"


def draw() -> None:
    """Draw the saved results, then the short benchmark."""
    frame.heading(say("bench.heading"), "roofline", "prefill", "decode")
    st.caption(say("bench.caption"))
    documents, problems = bench_results.read_benchmarks(checkpoint_root())
    documents = [one for one in documents if one["benchmark"] != bench_results.OF_FAMILY]
    for problem in problems:
        notices.show_error(problem)
    if documents:
        _saved(documents)
    else:
        notices.show_info(say("bench.none"))
    _here()


def _saved(documents: list[dict[str, object]]) -> None:
    table = bench_results.results_table(documents)
    if table.empty:
        notices.show_info(say("bench.none"))
        return
    if not table["benchmark"].isin(charts_bench.OWN_CHARTS).all():
        chart = charts_bench.ratio_points(table)
        frame.show_chart(chart, key="bench_ratios", caption=_where(documents))
    for number, document in enumerate(documents):  # each of one machine
        served = bench_results.serving_table(document)
        if len(served):
            chart = charts_bench.serving_lines(served)
            caption = f"{say('bench.serving_caption')}  \n{_where([document])}"
            frame.show_chart(chart, key=f"bench_serving_{number}", caption=caption)
        profiled = bench_results.profile_table(document)
        if len(profiled):
            chart = charts_profile.time_parts(profiled)
            caption = f"{say('bench.profile_caption')}  \n{_where([document])}"
            frame.show_chart(chart, key=f"bench_profile_{number}", caption=caption)
    for axis in bench_results.GROWING:
        grown = bench_results.growth_table(documents, axis)
        if len(grown) < 2:
            continue
        left, right = st.columns(2)
        with left:
            speed = charts_bench.growth_lines(grown, axis, "tokens_per_s")
            frame.show_chart(speed, key=f"bench_{axis}_speed")
        with right:
            size = charts_bench.growth_lines(grown, axis, "kv_bytes")
            frame.show_chart(size, key=f"bench_{axis}_bytes")
    st.caption(say("bench.no_quality"))


def _where(documents: list[dict[str, object]]) -> str:
    """Name machines and reservations of all documents, each once."""
    timed = [document for document in documents if document["roofline"]] or documents
    lines = bench_results.hardware_lines(timed)
    warnings = [
        f"{document['benchmark']}: {warning}"
        for document in documents
        for warning in document["warnings"]  # type: ignore[attr-defined]
    ]
    short = [str(document["benchmark"]) for document in documents if document["settings"]["quick"]]  # type: ignore[index]
    parts = [notices.as_text("; ".join(lines))]
    if short:
        parts.append(say("bench.short_runs", names=", ".join(short)))
    if warnings:
        parts.append(say("bench.warnings", warnings=notices.as_text("; ".join(warnings))))
    return "  \n".join(parts)


def _here() -> None:
    """Draw the button of the short benchmark, how far it is, and what it found."""
    job = state.bench_job()
    is_running = job is not None and not job.is_finished
    st.markdown(f"**{say('bench.here')}**")
    left, right, _ = st.columns([2, 1, 4])
    starts = left.button(
        say("bench.run"),
        icon=":material/speed:",
        key="bench_run",
        disabled=is_running,
        help=say("bench.run_help"),
    )
    stops = right.button(
        say("bench.stop"), icon=":material/stop:", key="bench_stop", disabled=not is_running
    )
    if starts:
        state.set_bench_job(bench_job.start(SHORT, _place))
        st.rerun()
    if job is None:
        return
    if stops:
        job.cancel()
    if is_running:
        _watch()
    else:
        _outcome(job)


def _place() -> tuple[str, str]:
    """Return this server's device and type of numbers."""
    place = loading.default_placement()
    return place.device, place.dtype


@st.fragment(run_every=POLL_S)
def _watch() -> None:
    job = state.bench_job()
    if job is None:
        return
    job.touch()
    if job.is_finished:
        st.rerun()
    words = (
        say("bench.waits") if job.waits else say("bench.measuring", what=notices.as_text(job.what))
    )
    st.progress(min(job.share, 1.0), words)


def _outcome(job: bench_job.BenchJob) -> None:
    if job.message:
        notices.show_error(job.message)
    if job.document is None:
        if not job.message:
            notices.show_info(say("bench.stopped"))
        return
    table = bench_results.results_table([job.document])
    frame.show_chart(
        charts_bench.ratio_points(table), key="bench_here", caption=_where([job.document])
    )
