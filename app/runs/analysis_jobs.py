"""Turns analysis requests into jobs for the worker of their model.

The same worker also generates for the Live page, so only one thread uses a model.
"""

import contextlib
from collections.abc import Callable

from app.runs import jobs, resources
from app.runs.requests import AnalysisRequest
from app.text.words import say
from mor_core.server.jobs import Job, Updates, Work
from mor_core.traces.trace import Trace
from mor_core.traces.trace_updates import TraceBuilder

MAX_CHARACTERS = 20_000  # about ten windows of the bundled models; the browser draws every token


def text_problem(text: str) -> str:
    """Return what is wrong with a text; empty if it is valid."""
    if not text.strip():
        return say("explore.text_empty")
    if len(text) > MAX_CHARACTERS:
        return say("explore.text_long", limit=f"{MAX_CHARACTERS:,}", length=f"{len(text):,}")
    return ""


def analyse(request: AnalysisRequest, purpose: str = "explore") -> Job:
    """Queue the analysis of a text.

    Args:
        request: the viewer's request.
        purpose: the job's purpose; a newer job for it replaces one that still waits.
    """
    return jobs.submit(resources.model_key(request.checkpoint), _analysis_work(request), purpose)


def progress(job: Job) -> tuple[float, str]:
    """Return the analysed share of the text, and the job's status in words."""
    ahead = jobs.job_manager().num_ahead(job)
    if job.status == "queued":
        return 0.0, say("explore.waiting", ahead=ahead)
    trace = job.trace
    if trace is None:
        return 0.0, say("explore.loading")
    windows = trace.header.windows
    total = windows[-1][1] if windows else len(trace.tokens)
    read = len(trace.tokens)
    return read / max(total, 1), say("explore.read", read=f"{read:,}", total=f"{total:,}")


def finished_trace(job: Job | None) -> Trace | None:
    """Return a finished job's trace; `None` if the job is running or has no trace."""
    return job.trace if job is not None and job.is_finished else None


def _analysis_work(request: AnalysisRequest) -> Work:
    def work(should_stop: Callable[[], bool]) -> Updates:
        loaded = resources.loaded_checkpoint(request.checkpoint)
        from mor_core.checkpoints.variants import with_kv_strategy
        from mor_core.generation.generation import analyse_text
        from mor_core.generation.trace_lens import LensError, add_lens

        if request.kv_strategy:
            loaded = with_kv_strategy(loaded, request.kv_strategy)
        rule = request.routing
        read = TraceBuilder()
        for update in analyse_text(loaded, request.text, routing=rule, should_stop=should_stop):
            read.take(update)
            yield update
        # The run's records get their early exits at the end; models without states between recursions have none.
        with contextlib.suppress(LensError):
            if read.trace is not None:
                add_lens(loaded, read.trace, rule, should_stop=should_stop)

    return work
