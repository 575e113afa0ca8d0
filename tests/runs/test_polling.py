"""What a browser without the event route is handed: what it says it lacks, whole and small."""

import json
from typing import Any

import pytest

from app.runs.polling import batch
from mor_core.server.jobs import Job
from mor_core.server.manager import JobManager
from tests.parts import unpacked
from tests.scripted import scripted_run
from tests.waiting import wait_for


@pytest.fixture
def job() -> Job:
    job = JobManager().submit("model", scripted_run(length=40))
    wait_for(lambda: job.is_finished)
    return job


@pytest.mark.parametrize("has", [0, 5, 42])
def test_batch_begins_where_the_browser_says(job: Job, has: int) -> None:
    found = batch(job, {"question": 3, job.id: has})
    assert (found["from"], found["answers"]) == (has, 3)
    assert unpacked(found) == json.loads(json.dumps(job.events[has:]))
    assert found["status"]["name"] == "done"


@pytest.mark.parametrize("asks", [{}, {"another": 9}])
def test_who_has_asked_nothing_of_this_run_gets_it_whole(job: Job, asks: dict[str, Any]) -> None:
    assert len(unpacked(batch(job, asks))) == len(job.events)


@pytest.mark.parametrize("nonsense", ["7", -1, 2.5, None, [3]])
def test_nonsense_from_the_browser_counts_as_nothing(job: Job, nonsense: Any) -> None:
    found = batch(job, {"question": nonsense, job.id: nonsense})
    assert (found["from"], found["answers"]) == (0, 0)


def test_events_are_sent_at_a_quarter(job: Job) -> None:
    plain = len(json.dumps(job.events, separators=(",", ":")))
    assert len(batch(job, {})["packed"]) < plain / 4


def test_asking_keeps_a_run_alive(job: Job) -> None:
    job.last_seen = 0.0
    batch(job, {})
    assert job.last_seen > 0
