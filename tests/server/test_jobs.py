"""Jobs run one after another, keep what they produced, and always end in a state that can be shown."""

import threading
from collections.abc import Callable, Iterator

import pytest

from app.runs.jobs import failure
from mor_core.server import jobs
from mor_core.server import manager as manager_module
from mor_core.server.jobs import Job, JobStatus, job_batch
from mor_core.server.manager import JobManager
from mor_core.traces.trace_updates import TraceUpdate
from tests.scripted import DEPTHS, ENDLESS, held_worker, scripted_run
from tests.waiting import PATIENCE_S, wait_for


def finished(job: Job) -> Job:
    wait_for(lambda: job.is_finished)
    return job


def texts(job: Job) -> list[str]:
    assert job.trace is not None
    return [token.text for token in job.trace.tokens]


def test_job_leaves_a_complete_trace() -> None:
    job = finished(JobManager().submit("model", scripted_run()))
    assert job.status is JobStatus.DONE
    assert job.trace is not None
    assert [token.recursion_depth for token in job.trace.tokens] == list(DEPTHS)
    assert job.trace.header.finish_reason == "length"
    assert len(job.trace.steps) == len(DEPTHS) - 1


def test_events_from_any_index_are_the_rest_of_all_events() -> None:
    job = finished(JobManager().submit("model", scripted_run()))
    everything = job_batch(job, 0)["events"]
    assert [event["kind"] for event in everything] == ["header"] + ["tokens"] * (
        len(DEPTHS) - 1
    ) + ["end"]
    for start in range(len(everything) + 1):
        assert job_batch(job, start)["events"] == everything[start:]


def test_runs_of_two_viewers_do_not_mix() -> None:
    manager = JobManager()
    first = manager.submit("model", scripted_run("a", delay_s=0.01))
    second = manager.submit("model", scripted_run("b", delay_s=0.01))
    finished(first)
    finished(second)
    assert texts(first)[1:] == [f" a{i}" for i in range(1, len(DEPTHS))]
    assert texts(second)[1:] == [f" b{i}" for i in range(1, len(DEPTHS))]
    assert manager.num_ahead(second) == 0


def test_a_model_moves_a_few_runs_together_in_turn_and_the_others_wait() -> None:
    manager = JobManager(num_slots=2)
    order: list[str] = []

    def work(name: str) -> Callable[[Callable[[], bool]], Iterator[TraceUpdate | None]]:
        def iterate(should_stop: Callable[[], bool]) -> Iterator[TraceUpdate | None]:
            for update in scripted_run(name)(should_stop):
                order.append(name)
                yield None  # nothing new for this one, as in a batch
                yield update

        return iterate

    _, released = held_worker(manager, "model")
    submitted = [manager.submit("model", work(name)) for name in "abc"]
    assert [manager.num_ahead(job) for job in submitted] == [1, 2, 3]
    released.set()
    for name, job in zip("abc", submitted, strict=True):
        assert finished(job).status is JobStatus.DONE
        assert texts(job)[1:] == [f" {name}{i}" for i in range(1, len(DEPTHS))]
    each = len(DEPTHS) - 1
    assert order.index("b") <= 3, "the second begins when the one before them has ended"
    assert order.index("c") >= 2 * each - 3
    for end in range(2 * each - 3):
        assert abs(order[:end].count("a") - order[:end].count("b")) <= 3


def test_two_models_run_at_the_same_time() -> None:
    manager = JobManager()
    both = threading.Barrier(2, timeout=PATIENCE_S)

    def work(should_stop: Callable[[], bool]) -> Iterator[TraceUpdate]:
        both.wait()
        yield from scripted_run()(should_stop)

    for job in [manager.submit(key, work) for key in "xy"]:
        assert finished(job).status is JobStatus.DONE


def test_cancelled_run_stops_after_its_present_token_and_keeps_all() -> None:
    job = JobManager().submit("model", scripted_run(length=ENDLESS, delay_s=0.01))
    wait_for(lambda: len(job.events) > 5)
    job.cancel()
    known = len(job.events)
    finished(job)
    assert len(job.events) <= known + 2, "the token under way, and the end"
    assert job.status is JobStatus.CANCELLED
    assert job.trace is not None
    assert job.trace.header.finish_reason == "cancelled"
    assert [token.position for token in job.trace.tokens] == list(range(len(job.trace.tokens)))
    assert job.trace.tokens[-1].recursion_depth is None


def test_cancelled_while_waiting_is_over_at_once_and_never_runs() -> None:
    manager = JobManager(num_slots=1)
    first, released = held_worker(manager, "model")
    second = manager.submit("model", scripted_run("never"))
    second.cancel()
    assert second.status is JobStatus.CANCELLED
    released.set()
    finished(first)
    wait_for(lambda: manager.num_ahead(second) == 0)
    assert second.events == []


@pytest.mark.parametrize(
    ("watched", "status"), [(True, JobStatus.DONE), (False, JobStatus.CANCELLED)]
)
def test_run_goes_on_while_it_is_watched_and_ends_when_nobody_does(
    watched: bool, status: JobStatus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each update comes more than half the allowed silence after the one before."""
    monkeypatch.setattr(jobs, "SILENCE_S", 1000.0)
    manager = JobManager()

    def slow(should_stop: Callable[[], bool]) -> Iterator[TraceUpdate]:
        (job,) = manager.jobs_of("model")
        for update in scripted_run()(should_stop):
            job.last_seen -= 600
            yield update
            if watched:
                job.touch()

    assert finished(manager.submit("model", slow)).status is status


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (
            ValueError("prompt must not be empty; type a few words"),
            "prompt must not be empty; type a few words",
        ),
        (RuntimeError("secret path"), "internal error (RuntimeError)"),
    ],
)
def test_error_becomes_a_message_and_the_next_job_runs(error: Exception, shown: str) -> None:
    def broken(should_stop: Callable[[], bool]) -> Iterator[TraceUpdate]:
        yield from list(scripted_run("x", length=3)(should_stop))[:1]
        raise error

    manager = JobManager()
    job = manager.submit("model", broken)
    after = manager.submit("model", scripted_run())
    finished(after)
    assert job.status is JobStatus.FAILED
    assert job.error is error
    assert shown in failure(job)
    assert "secret" not in failure(job)
    assert after.status is JobStatus.DONE


def test_old_finished_jobs_are_forgotten_and_running_ones_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(manager_module, "MAX_FINISHED_JOBS", 2)
    manager = JobManager()
    running = manager.submit("slow", scripted_run(length=ENDLESS, delay_s=0.01))
    old = [finished(manager.submit("model", scripted_run())) for _ in range(4)]
    manager.submit("model", scripted_run())
    assert manager.find(running.id) is running
    assert [manager.find(job.id) is not None for job in old] == [False, False, True, True]
    running.cancel()
