"""Models in memory: loaded once for all, given back over the limit, on demand, and when they move."""

import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.runs import jobs, model_cache, resources
from app.runs.model_cache import ModelCache, ModelName
from mor_core.checkpoints.checkpoint import CheckpointInfo, describe_checkpoint
from mor_core.checkpoints.placement import Placement
from mor_core.server.jobs import JobStatus
from mor_core.server.manager import JobManager
from tests.scripted import ENDLESS, scripted_run
from tests.waiting import PATIENCE_S, wait_for

CPU, CPU_BF16 = Placement("cpu", "float32"), Placement("cpu", "bfloat16")


def named(letter: str) -> ModelName:
    return ModelName(f"/{letter}", letter * 64)


class Loaded:
    """What a loading returns, without a checkpoint."""

    def __init__(self) -> None:
        import torch

        self.model = torch.nn.Linear(3, 1, bias=False)


@pytest.fixture
def asked() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def cache(asked: list[tuple[str, str]]) -> ModelCache:
    def load(name: ModelName, place: Placement) -> Any:
        asked.append((name.path, place.dtype))
        return Loaded()

    return ModelCache(load, limit=2)


def test_a_model_is_loaded_once_however_many_ask(
    cache: ModelCache, asked: list[tuple[str, str]]
) -> None:
    got: list[object] = []
    threads = [
        threading.Thread(target=lambda: got.append(cache.get(named("a"), CPU))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, got))) == 1
    assert asked == [("/a", "float32")]
    assert [item.num_bytes for item in cache.held()] == [12]


def test_the_longest_unused_model_makes_room(cache: ModelCache) -> None:
    first = weakref.ref(cache.get(named("a"), CPU).model)
    cache.get(named("b"), CPU)
    cache.get(named("a"), CPU)
    cache.get(named("c"), CPU)
    assert [item.name for item in cache.held()] == [named("a"), named("c")]
    assert first() is not None
    cache.get(named("d"), CPU)
    assert first() is None, "its memory is given back"


def test_a_model_moves_to_the_place_that_was_chosen(cache: ModelCache) -> None:
    cache.get(named("a"), CPU)
    cache.get(named("a"), CPU_BF16)
    cache.choose(named("a"), CPU_BF16)
    assert [item.placement for item in cache.held()] == [CPU_BF16]
    assert cache.chosen(named("a")) == CPU_BF16
    assert cache.chosen(named("b")) is None


@pytest.fixture
def info(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CheckpointInfo]:
    monkeypatch.setenv("MOR_DEVICE", "cpu")
    model_cache.loaded_models.cache_clear()
    yield describe_checkpoint(tiny_checkpoint)
    model_cache.loaded_models.cache_clear()


def test_unloading_ends_the_runs_and_frees_the_weights(
    info: CheckpointInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = JobManager(num_slots=1)
    monkeypatch.setattr(jobs, "job_manager", lambda: manager)
    monkeypatch.setattr(resources, "UNLOAD_S", PATIENCE_S)
    weights = weakref.ref(resources.loaded_checkpoint(info).model)

    def work(should_stop: Callable[[], bool]) -> Iterator[Any]:
        loaded = resources.loaded_checkpoint(info)
        yield from scripted_run(length=ENDLESS, delay_s=0.005)(should_stop)
        del loaded

    running = manager.submit(resources.model_key(info), work)
    waiting = manager.submit(resources.model_key(info), scripted_run())
    wait_for(lambda: running.status is JobStatus.RUNNING)
    assert weights() is not None
    resources.unload(info)
    assert running.status is JobStatus.CANCELLED
    assert waiting.status is JobStatus.CANCELLED
    assert model_cache.loaded_models().held() == []
    assert weights() is None


def test_a_run_uses_the_chosen_type(info: CheckpointInfo) -> None:
    assert str(resources.loaded_checkpoint(info).model.dtype) == "torch.float32"
    resources.load_on(info, "cpu", "bf16")
    assert str(resources.loaded_checkpoint(info).model.dtype) == "torch.bfloat16"
    assert [item.placement for item in model_cache.loaded_models().held()] == [CPU_BF16]


def test_a_run_without_memory_gets_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    def work(should_stop: Callable[[], bool]) -> Iterator[Any]:
        yield from list(scripted_run()(should_stop))[:1]
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")

    job = JobManager().submit("model", work)
    wait_for(lambda: job.is_finished)
    assert job.status is JobStatus.FAILED
    assert "unload other models" in jobs.failure(job)
    assert job.trace is not None, "what was computed stays"
