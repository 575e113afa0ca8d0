"""Viewers take turns on a model; jobs that nobody waits for any more leave the queue."""

from collections.abc import Callable

import pytest

from mor_core.server import jobs
from mor_core.server.fair_queue import FairQueue, Owner
from mor_core.server.jobs import Job, JobStatus
from mor_core.server.manager import JobManager
from tests.scripted import ENDLESS, held_worker, scripted_run
from tests.server.test_jobs import finished
from tests.waiting import wait_for

LIVE = "live"


def waiting(queue: FairQueue[Job], viewer: str, purpose: str) -> Job:
    job = Job(scripted_run(viewer), Owner(viewer, purpose))
    queue.put(job)
    return job


def taken(queue: FairQueue[Job]) -> list[Job]:
    """Run everything, one at a time, and return the order."""
    order = []
    while (job := queue.take()) is not None:
        order.append(job)
        queue.done(job)
    return order


def test_one_viewer_with_many_runs_lets_the_others_in_between() -> None:
    queue: FairQueue[Job] = FairQueue()
    running = waiting(queue, "greedy", "0")
    assert queue.take() is running
    many = [waiting(queue, "greedy", str(index)) for index in range(1, 5)]
    others = [waiting(queue, viewer, LIVE) for viewer in "ab"]
    assert [queue.num_ahead(job) for job in others] == [1, 2]
    assert [queue.num_ahead(job) for job in many] == [3, 4, 5, 6]
    assert queue.num_ahead(running) == 0
    queue.done(running)
    assert taken(queue) == [*others, *many]


def test_a_viewer_who_comes_back_waits_behind_everybodys_turn_and_not_for_ever() -> None:
    queue: FairQueue[Job] = FairQueue()
    first = waiting(queue, "a", "1")
    assert queue.take() is first
    again = waiting(queue, "a", "2")
    new = [waiting(queue, f"new {index}", LIVE) for index in range(2)]
    queue.done(first)
    assert queue.take() is new[0]
    queue.done(new[0])
    assert queue.take() is new[1]
    queue.done(new[1])
    assert queue.take() is again
    late = waiting(queue, "late", LIVE)
    third = waiting(queue, "a", "3")
    assert (queue.num_ahead(late), queue.num_ahead(third)) == (1, 2)


def test_runs_of_nobody_come_in_order_of_arrival() -> None:
    queue: FairQueue[Job] = FairQueue()
    jobs_ = [Job(scripted_run()) for _ in range(3)]
    for job in jobs_:
        queue.put(job)
    assert taken(queue) == jobs_


def test_the_queue_position_counts_only_jobs_still_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    queue: FairQueue[Job] = FairQueue()
    first, stopped, gone, last = (waiting(queue, viewer, LIVE) for viewer in "abcd")
    assert queue.take() is first
    assert queue.num_ahead(last) == 3
    stopped.cancel()
    assert queue.num_ahead(last) == 2
    gone.last_seen -= jobs.SILENCE_S + 1  # the tab was closed
    assert queue.num_ahead(last) == 1
    assert gone.status is JobStatus.CANCELLED
    assert queue.runs() == [first, last]


def test_a_newer_run_replaces_the_waiting_one_of_the_same_purpose_alone() -> None:
    manager = JobManager()
    blocker, released = held_worker(manager, "model")
    older = manager.submit("model", scripted_run("old"), Owner("a", LIVE))
    reading = manager.submit("model", scripted_run("reading"), Owner("a", "explore"))
    foreign = manager.submit("model", scripted_run("b"), Owner("b", LIVE))
    newer = manager.submit("model", scripted_run("new"), Owner("a", LIVE))
    assert older.status is JobStatus.CANCELLED
    assert [manager.num_ahead(job) for job in (foreign, reading, newer)] == [1, 2, 3]
    assert manager.jobs_of("model") == [blocker, foreign, reading, newer]
    on_another_model = manager.submit("other", scripted_run("other"), Owner("a", LIVE))
    assert newer.status is JobStatus.CANCELLED, "also where the newer run is of another model"
    released.set()
    for job in (reading, foreign, on_another_model):
        assert finished(job).status is JobStatus.DONE
    assert manager.jobs_of("nothing") == []


def test_a_running_job_is_not_replaced() -> None:
    manager = JobManager()
    running = manager.submit("model", scripted_run(length=ENDLESS, delay_s=0.01), Owner("a", LIVE))
    wait_for(lambda: running.status is JobStatus.RUNNING)
    manager.submit("model", scripted_run(), Owner("a", LIVE))
    assert running.status is JobStatus.RUNNING
    running.cancel()


def seen_order(manager: JobManager, viewers: str) -> list[str]:
    """Submit one short run a letter while the worker is held, and return in which order they ran."""
    ran: list[str] = []

    def work(name: str) -> jobs.Work:
        def iterate(should_stop: Callable[[], bool]) -> object:
            ran.append(name)
            yield from scripted_run(name)(should_stop)

        return iterate  # type: ignore[return-value]

    _, released = held_worker(manager, "model")
    submitted = [
        manager.submit("model", work(viewer), Owner(viewer, str(index)))
        for index, viewer in enumerate(viewers)
    ]
    released.set()
    for job in submitted:
        finished(job)
    return ran


def test_the_worker_takes_the_turns_in_that_order() -> None:
    assert seen_order(JobManager(), "aaaabc") == list("abcaaa")
