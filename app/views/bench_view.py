"""The Efficiency page's benchmarks: saved results from the project's machine, and a short benchmark on this server."""

import streamlit as st

from app.charts import bench as bench_charts
from app.charts import profile as profile_charts
from app.frame import messages, page_parts
from app.runs import bench_job, resources, session
from app.tables import bench_results
from app.text.words import say
from mor_core.checkpoints.checkpoint import checkpoint_root

POLL_S = 0.4
SHORT = "prefill"


def draw() -> None:
    """Draw the saved results, then the short benchmark."""
    page_parts.heading(say("bench.heading"), "roofline", "prefill", "decode")
    st.caption(say("bench.caption"))
    documents, problems = bench_results.read_benchmarks(checkpoint_root())
    documents = [one for one in documents if one["benchmark"] != bench_results.OF_FAMILY]
    for problem in problems:
        messages.show_error(problem)
    if documents:
        _saved(documents)
    else:
        messages.show_info(say("bench.none"))
    _here()


def _saved(documents: list[dict[str, object]]) -> None:
    table = bench_results.results_table(documents)
    if table.empty:
        messages.show_info(say("bench.none"))
        return
    if not table["benchmark"].isin(bench_charts.OWN_CHARTS).all():
        chart = bench_charts.ratio_points(table)
        page_parts.show_chart(chart, key="bench_ratios", caption=_where(documents))
    for number, document in enumerate(documents):  # each from one machine
        serving = bench_results.serving_table(document)
        if len(serving):
            chart = bench_charts.serving_lines(serving)
            caption = f"{say('bench.serving_caption')}  \n{_where([document])}"
            page_parts.show_chart(chart, key=f"bench_serving_{number}", caption=caption)
        profiled = bench_results.profile_table(document)
        if len(profiled):
            chart = profile_charts.time_parts(profiled)
            caption = f"{say('bench.profile_caption')}  \n{_where([document])}"
            page_parts.show_chart(chart, key=f"bench_profile_{number}", caption=caption)
    for axis in bench_results.GROWTH_AXES:
        grown = bench_results.growth_table(documents, axis)
        if len(grown) < 2:
            continue
        left, right = st.columns(2)
        with left:
            speed = bench_charts.growth_lines(grown, axis, "tokens_per_s")
            page_parts.show_chart(speed, key=f"bench_{axis}_speed")
        with right:
            size = bench_charts.growth_lines(grown, axis, "kv_bytes")
            page_parts.show_chart(size, key=f"bench_{axis}_bytes")
    st.caption(say("bench.no_quality"))


def _where(documents: list[dict[str, object]]) -> str:
    """Describe the machines and list the warnings of all documents, each once."""
    timed = [document for document in documents if document["roofline"]] or documents
    lines = bench_results.hardware_lines(timed)
    warnings = [
        f"{document['benchmark']}: {warning}"
        for document in documents
        for warning in document["warnings"]  # type: ignore[attr-defined]
    ]
    short = [str(document["benchmark"]) for document in documents if document["settings"]["quick"]]  # type: ignore[index]
    parts = [messages.as_text("; ".join(lines))]
    if short:
        parts.append(say("bench.short_runs", names=", ".join(short)))
    if warnings:
        parts.append(say("bench.warnings", warnings=messages.as_text("; ".join(warnings))))
    return "  \n".join(parts)


def _here() -> None:
    """Draw the short benchmark's button, progress and result."""
    job = session.bench_job()
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
        session.set_bench_job(bench_job.start(SHORT, _placement))
        st.rerun()
    if job is None:
        return
    if stops:
        job.cancel()
    if is_running:
        _watch()
    else:
        _outcome(job)


def _placement() -> tuple[str, str]:
    """Return this server's device and dtype."""
    placement = resources.default_placement()
    return placement.device, placement.dtype


@st.fragment(run_every=POLL_S)
def _watch() -> None:
    job = session.bench_job()
    if job is None:
        return
    job.touch()
    if job.is_finished:
        st.rerun()
    words = (
        say("bench.waits") if job.waits else say("bench.measuring", what=messages.as_text(job.what))
    )
    st.progress(min(job.share, 1.0), words)


def _outcome(job: bench_job.BenchJob) -> None:
    if job.message:
        messages.show_error(job.message)
    if job.document is None:
        if not job.message:
            messages.show_info(say("bench.stopped"))
        return
    table = bench_results.results_table([job.document])
    page_parts.show_chart(
        bench_charts.ratio_points(table), key="bench_here", caption=_where([job.document])
    )
