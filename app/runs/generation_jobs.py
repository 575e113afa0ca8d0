"""Turns a press of Run into a job: a request becomes work for the worker of its model."""

import logging
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from app.runs import resources, session
from app.runs.jobs import MAX_TOGETHER, Job, Work, job_manager
from app.runs.requests import GenerationRequest
from mor_core.checkpoints.checkpoint import CheckpointInfo

if TYPE_CHECKING:
    from mor_core.checkpoints.checkpoint import LoadedCheckpoint
    from mor_core.generation.generation_run import TraceUpdate
    from mor_core.model.model import MoRForCausalLM
    from mor_core.serving.aot_compile import DecodeKernels
    from mor_core.serving.engine import Engine

_LOG = logging.getLogger(__name__)
_ENGINES: "WeakValueDictionary[int, Engine]" = WeakValueDictionary()


def start(request: GenerationRequest, purpose: str = "live") -> Job:
    """Queue a run; the model is loaded by its worker if it is not yet.

    Args:
        request: what to generate, and how.
        purpose: of the run; a newer one for the same replaces one that still waits.
    """
    return job_manager().submit(
        resources.model_key(request.checkpoint), generation_work(request), session.owner(purpose)
    )


def load_ahead(info: CheckpointInfo) -> None:
    """Queue the loading of a model, so that the first run waits for nothing."""

    def work(_: Callable[[], bool]) -> "Iterator[TraceUpdate]":
        decode_kernels(resources.loaded_checkpoint(info).model)
        yield from ()

    job_manager().submit(resources.model_key(info), work)


def generation_work(request: GenerationRequest) -> Work:
    """Return the work of a run; it shares a batch with the others of its model."""

    def work(should_stop: Callable[[], bool]) -> "Iterator[TraceUpdate | None]":
        loaded = resources.loaded_checkpoint(request.checkpoint)
        from mor_core.generation.generation import generate_together
        from mor_core.generation.generation_run import Sampling

        sampling = Sampling(
            request.max_new_tokens, request.temperature, request.top_k or None, request.seed
        )
        yield from generate_together(
            loaded, _engine(loaded), request.prompt, sampling, request.routing, should_stop
        )

    return work


def _engine(loaded: "LoadedCheckpoint") -> "Engine":
    """Return the engine of a model, which lives as long as a run is on it; called by the model's worker alone."""
    from mor_core.serving.engine import Engine

    engine = _ENGINES.get(
        id(loaded.model)
    )  # while it lives, so does its model, so the number is not given again
    if engine is None:
        engine = Engine(loaded.model, num_slots=MAX_TOGETHER, kernels=decode_kernels(loaded.model))
        _ENGINES[id(loaded.model)] = engine
    return engine


def decode_kernels(model: "MoRForCausalLM") -> "DecodeKernels | None":
    """Return the compiled parts of a model, where `mor app --compile` asked for them and the model can have them."""
    if os.environ.get("MOR_COMPILE") != "1":
        return None
    from mor_core.serving.aot_compile import CompileError, DecodeKernels

    try:
        return DecodeKernels(model)
    except CompileError as error:
        _LOG.warning("decode stays as it is: %s", error)
        return None
