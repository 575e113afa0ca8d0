"""Turns generation requests into jobs for the worker of their model."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from app.runs import jobs, resources
from app.runs.requests import GenerationRequest
from mor_core.checkpoints.checkpoint import CheckpointInfo
from mor_core.server.jobs import Job, Updates, Work

if TYPE_CHECKING:
    from mor_core.generation.generation_run import Run


def start(request: GenerationRequest, purpose: str = "live") -> Job:
    """Queue a generation run; its worker loads the model if necessary.

    Args:
        request: the viewer's request.
        purpose: the run's purpose; a newer run for it replaces one that still waits.
    """
    return jobs.submit(resources.model_key(request.checkpoint), generation_work(request), purpose)


def load_ahead(info: CheckpointInfo) -> None:
    """Queue the loading of a model, so that its first run need not wait for it."""

    def work(_: Callable[[], bool]) -> Updates:
        jobs.compiled_modules(resources.loaded_checkpoint(info).model)
        return iter(())

    jobs.submit(resources.model_key(info), work)


def generation_work(request: GenerationRequest) -> Work:
    """Return the work of a generation run, which shares a batch with other runs of its model."""

    def work(should_stop: Callable[[], bool]) -> "Run":
        loaded = resources.loaded_checkpoint(request.checkpoint)
        from mor_core.generation.generation_run import Run, Sampling

        sampling = Sampling(
            request.max_new_tokens, request.temperature, request.top_k or None, request.seed
        )
        return Run(loaded, request.prompt, sampling, request.routing, should_stop)

    return work
