"""This process's job manager, with the app's additions: owners, compiled modules, and translated error messages."""

import functools
import logging
import os
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from app.runs import session
from app.text.error_messages import problem_text
from app.text.words import viewer_language
from mor_core.server.jobs import Job, Work, job_batch
from mor_core.server.manager import JobManager

if TYPE_CHECKING:
    from mor_core.model.model import MoRForCausalLM
    from mor_core.serving.aot_compile import CompiledModules
    from mor_core.serving.engine import Engine

_LOG = logging.getLogger(__name__)


@functools.cache
def job_manager() -> JobManager:
    """Return this process's job manager, shared by the pages and the event route."""
    return JobManager(make_engine)


def submit(model_key: Hashable, work: Work, purpose: str | None = None) -> Job:
    """Queue a run of a model for this viewer.

    Args:
        model_key: identifies the model's worker.
        work: the run's work.
        purpose: the run's purpose; a newer run for it replaces one that still waits. `None` replaces nothing.
    """
    owner = None if purpose is None else session.owner(purpose)
    return job_manager().submit(model_key, work, owner, viewer_language())


def failure(job: Job) -> str:
    """Return why a job failed, in its viewer's language; empty if it did not fail."""
    return "" if job.error is None else problem_text(job.error, job.language)


def batch(job: Job, start: int) -> dict[str, Any]:
    """Return a job's events from index `start` on, and its status."""
    return job_batch(job, start, job_manager().num_ahead(job), failure(job))


def make_engine(model: "MoRForCausalLM") -> "Engine":
    """Return a new engine for a model's worker."""
    from mor_core.serving.engine import Engine

    return Engine(model, compiled=compiled_modules(model))


def compiled_modules(model: "MoRForCausalLM") -> "CompiledModules | None":
    """Return a model's compiled modules; `None` without `mor app --compile` or if the model cannot be compiled."""
    if os.environ.get("MOR_COMPILE") != "1":
        return None
    from mor_core.serving.aot_compile import CompiledModules, CompileError

    try:
        return CompiledModules(model)
    except CompileError as error:
        _LOG.warning("decode stays as it is: %s", error)
        return None
