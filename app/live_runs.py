"""Turns a press of Run into a job: a request becomes work for the worker of its model."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from app import loading, state
from app.controls import GenerationRequest
from app.jobs import Job, Work, job_manager
from mor_core.checkpoint import CheckpointInfo

if TYPE_CHECKING:
    from mor_core.generation import TraceUpdate


def start(request: GenerationRequest, purpose: str = "live") -> Job:
    """Queue a run; the model is loaded by its worker if it is not yet.

    Args:
        request: what to generate, and how.
        purpose: of the run; a newer one for the same replaces one that still waits.
    """
    return job_manager().submit(
        loading.model_key(request.checkpoint), generation_work(request), state.owner(purpose)
    )


def load_ahead(info: CheckpointInfo) -> None:
    """Queue the loading of a model, so that the first run waits for nothing."""

    def work(_: Callable[[], bool]) -> "Iterator[TraceUpdate]":
        loading.loaded_checkpoint(info)
        yield from ()

    job_manager().submit(loading.model_key(info), work)


def generation_work(request: GenerationRequest) -> Work:
    """Return the work of a run."""

    def work(should_stop: Callable[[], bool]) -> "Iterator[TraceUpdate]":
        loaded = loading.loaded_checkpoint(request.checkpoint)
        from mor_core.generation import generate_with_trace

        yield from generate_with_trace(
            loaded,
            request.prompt,
            max_new_tokens=request.max_new_tokens,
            temperature=request.temperature,
            top_k=request.top_k or None,
            seed=request.seed,
            routing=request.routing.rule(),
            should_stop=should_stop,
        )

    return work
