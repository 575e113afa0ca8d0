"""The worker's one loop: runs share a batch, other work goes on between steps, and a failure is its own run's alone."""

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from torch import Tensor

from mor_core.checkpoints.checkpoint import LoadedCheckpoint
from mor_core.generation import generation_run
from mor_core.generation.generation import analyse_text, collect_trace, generate_with_trace
from mor_core.generation.generation_run import Run, Sampling
from mor_core.model.routing_rules import RoutingRule
from mor_core.server.jobs import Job, JobStatus, Updates, Work
from mor_core.server.manager import JobManager
from mor_core.serving.engine import Engine
from mor_core.serving.model_runner import ModelRunner
from mor_core.serving.request_state import Counters
from mor_core.traces.trace import Trace
from mor_core.traces.trace_updates import TraceUpdate
from tests.conftest import STORY
from tests.scripted import held_worker, scripted_run
from tests.server.test_jobs import finished

PROMPTS = ["Once upon a time", "The old king", "A rabbit ran"]
NEW = 8


def continued(loaded: LoadedCheckpoint, seed: int, rule: RoutingRule | None = None) -> Work:
    """Return the work of a run that no other seed makes."""

    def work(should_stop: Callable[[], bool]) -> Run:
        sampling = Sampling(NEW, 0.9, None, seed)
        own = rule or RoutingRule.causal()
        return Run(loaded, PROMPTS[seed % len(PROMPTS)], sampling, own, should_stop)

    return work


def alone(loaded: LoadedCheckpoint, seed: int, rule: RoutingRule | None = None) -> Trace:
    return collect_trace(
        generate_with_trace(
            loaded,
            PROMPTS[seed % len(PROMPTS)],
            max_new_tokens=NEW,
            temperature=0.9,
            seed=seed,
            routing=rule,
        )
    )


def ids(trace: Trace | None) -> list[int]:
    assert trace is not None
    return [token.token_id for token in trace.tokens]


def together(manager: JobManager, *works: Work) -> list[Job]:
    """Run works that begin in the same round."""
    _, released = held_worker(manager, "model")
    jobs = [manager.submit("model", work) for work in works]
    released.set()
    return [finished(job) for job in jobs]


class Made:
    """Makes engines, and remembers what they counted, but not them."""

    def __init__(self) -> None:
        self.engines: list[weakref.ref[Engine]] = []
        self.counters: list[Counters] = []

    def __call__(self, model: Any) -> Engine:
        engine = Engine(model)
        self.engines.append(weakref.ref(engine))
        self.counters.append(engine.counters)
        return engine


def test_runs_share_one_engine_and_each_gets_what_it_gets_alone(
    tiny_loaded: LoadedCheckpoint,
) -> None:
    made = Made()
    jobs = together(JobManager(made), *(continued(tiny_loaded, seed) for seed in range(3)))
    for seed, job in enumerate(jobs):
        assert job.status is JobStatus.DONE
        assert ids(job.trace) == ids(alone(tiny_loaded, seed))
    (counters,) = made.counters
    runs, tokens = counters.block
    assert tokens > runs, "tokens of different runs went through the block together"


def test_an_engine_goes_with_its_last_run(tiny_loaded: LoadedCheckpoint) -> None:
    made = Made()
    manager = JobManager(made)
    _, released = held_worker(manager, "model")
    job = manager.submit("model", continued(tiny_loaded, 0))
    last = manager.submit("model", scripted_run(length=400, delay_s=0.005))
    released.set()
    finished(job)
    seen = len(last.events)
    while len(last.events) < seen + 3 and not last.is_finished:
        last.touch()
    gc.collect()
    assert not last.is_finished, "the worker still runs"
    assert [engine() for engine in made.engines] == [None]
    last.cancel()


def test_a_rule_that_sees_the_future_runs_beside_the_engine(tiny_loaded: LoadedCheckpoint) -> None:
    rule = RoutingRule.top_k()
    first, second = together(
        JobManager(), continued(tiny_loaded, 0), continued(tiny_loaded, 1, rule)
    )
    assert ids(first.trace) == ids(alone(tiny_loaded, 0))
    assert ids(second.trace) == ids(alone(tiny_loaded, 1, rule))


def test_reading_and_writing_go_on_in_turn(tiny_loaded: LoadedCheckpoint) -> None:
    order: list[str] = []
    manager = JobManager(on_update=lambda update: order.append(update.header.kind))

    def read(should_stop: Callable[[], bool]) -> Updates:
        yield from analyse_text(tiny_loaded, STORY, should_stop=should_stop)

    reading, writing = together(manager, read, continued(tiny_loaded, 0))
    assert reading.status is writing.status is JobStatus.DONE
    assert order.count("analyse") > 2
    last = {kind: len(order) - 1 - order[::-1].index(kind) for kind in ("analyse", "generate")}
    assert order.index("generate") < last["analyse"]
    assert order.index("analyse") < last["generate"]


def test_a_run_whose_sampling_fails_ends_alone_and_says_why(
    tiny_loaded: LoadedCheckpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose = generation_run._Sampler.choose
    drawn: list[int] = []

    def faulty(self: Any, logits: Tensor) -> int:
        seed = self.generator.initial_seed()
        drawn.append(seed)
        if seed == 1 and drawn.count(1) == 3:
            raise ZeroDivisionError("a fault of this run alone")
        return choose(self, logits)

    expected = [ids(alone(tiny_loaded, seed)) for seed in (0, 2)]
    monkeypatch.setattr(generation_run._Sampler, "choose", faulty)
    works = [continued(tiny_loaded, seed) for seed in range(3)]
    first, broken, last = together(JobManager(), *works)
    assert [ids(first.trace), ids(last.trace)] == expected
    assert broken.status is JobStatus.FAILED
    assert isinstance(broken.error, ZeroDivisionError)
    assert broken.trace is not None, "what was computed stays"


def test_a_hook_that_fails_ends_its_run_and_the_other_is_served(
    tiny_loaded: LoadedCheckpoint,
) -> None:
    def refuse(update: TraceUpdate) -> None:
        if update.header.sampling["seed"] == 0:
            raise OSError("the disk is full")

    manager = JobManager(on_update=refuse)
    first, second = together(manager, continued(tiny_loaded, 0), continued(tiny_loaded, 1))
    assert (first.status, second.status) == (JobStatus.FAILED, JobStatus.DONE)
    assert ids(second.trace) == ids(alone(tiny_loaded, 1))


def test_a_failed_model_call_is_reported_and_the_worker_continues(
    tiny_loaded: LoadedCheckpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scarce(self: ModelRunner, requests: object) -> None:
        raise RuntimeError("no memory for the block")

    def beside(should_stop: Callable[[], bool]) -> Iterator[TraceUpdate]:
        yield from scripted_run()(should_stop)

    manager = JobManager()
    with monkeypatch.context() as scarcity:
        scarcity.setattr(ModelRunner, "recur", scarce)
        works = [continued(tiny_loaded, seed, RoutingRule.fixed(2)) for seed in (0, 1)]
        one, other, work = together(manager, *works, beside)
    assert [job.status for job in (one, other, work)] == [
        JobStatus.FAILED,
        JobStatus.FAILED,
        JobStatus.DONE,
    ]
    assert str(one.error) == "no memory for the block"
    after = finished(manager.submit("model", continued(tiny_loaded, 2)))
    assert ids(after.trace) == ids(alone(tiny_loaded, 2))


def test_there_must_be_a_slot() -> None:
    with pytest.raises(ValueError, match="num_slots must be at least 1, got 0"):
        JobManager(num_slots=0)
