"""The event route sends a run's events once, goes on where a reader was, and answers nobody else."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from app.runs import jobs
from app.runs.stream import STREAM_ROUTE, stream_url
from mor_core.server.jobs import Job, Work
from mor_core.server.manager import JobManager
from mor_core.traces.trace_updates import TraceUpdate
from tests.scripted import scripted_run
from tests.waiting import wait_for


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> JobManager:
    manager = JobManager()
    monkeypatch.setattr(jobs, "job_manager", lambda: manager)
    return manager


@pytest.fixture
def client() -> Iterator[TestClient]:
    with TestClient(Starlette(routes=[STREAM_ROUTE])) as client:
        yield client


def messages(text: str) -> list[dict[str, Any]]:
    """Read server-sent events as a browser does."""
    read = []
    for block in text.strip().split("\n\n"):
        fields = dict(
            line.split(": ", 1) for line in block.splitlines() if not line.startswith(":")
        )
        if fields:
            read.append({"id": int(fields["id"]), **json.loads(fields["data"])})
    return read


def all_events(job: Job, text: str) -> list[dict[str, Any]]:
    return [event for message in messages(text) for event in message["events"]]


def led_by_its_reader(manager: JobManager, *, burst: int, silence_s: float = 0.0) -> Work:
    """Return work that goes on by `burst` updates each time that its reader has looked again, `silence_s` later."""

    def work(should_stop: Callable[[], bool]) -> Iterator[TraceUpdate]:
        (job,) = manager.jobs_of("model")
        for number, update in enumerate(scripted_run(length=41)(should_stop)):
            if number % burst == 0:
                job.last_seen -= silence_s
                seen = job.last_seen
                wait_for(lambda seen=seen: job.last_seen > seen)  # type: ignore[misc]
            yield update

    return work


def test_every_event_arrives_once_and_in_order_while_the_run_goes_on(
    manager: JobManager, client: TestClient
) -> None:
    job = manager.submit("model", led_by_its_reader(manager, burst=8))
    answer = client.get(stream_url(job))
    assert answer.headers["content-type"].startswith("text/event-stream")
    received = messages(answer.text)
    assert all_events(job, answer.text) == json.loads(json.dumps(job.events))
    assert [message["from"] for message in received[1:]] == [
        message["id"] for message in received[:-1]
    ]
    assert len(received) >= 5, "a running job is sent in batches, not all at once"
    assert len(received) < 40, "events are batched, not sent one by one"
    assert received[-1]["status"]["name"] == "done"


@pytest.mark.parametrize("start", [0, 3, 41])
def test_reader_goes_on_where_it_was(manager: JobManager, client: TestClient, start: int) -> None:
    job = manager.submit("model", scripted_run(length=40))
    by_query = client.get(f"{stream_url(job)}?from={start}")
    by_header = client.get(f"{stream_url(job)}?from=0", headers={"Last-Event-ID": str(start)})
    expected = json.loads(json.dumps(job.events))[start:]
    assert all_events(job, by_query.text) == expected
    assert all_events(job, by_header.text) == expected


def test_unknown_run_is_404(manager: JobManager, client: TestClient) -> None:
    assert client.get("/mor/stream/unknown").status_code == 404


def test_bad_start_is_400(manager: JobManager, client: TestClient) -> None:
    job = manager.submit("model", scripted_run())
    assert client.get(f"{stream_url(job)}?from=-1").status_code == 400


def test_another_site_and_other_methods_are_refused(
    manager: JobManager, client: TestClient
) -> None:
    job = manager.submit("model", scripted_run())
    assert (
        client.get(stream_url(job), headers={"Origin": "http://elsewhere.example"}).status_code
        == 403
    )
    assert client.get(stream_url(job), headers={"Origin": "http://testserver"}).status_code == 200
    assert client.post(stream_url(job)).status_code == 405


def test_reading_keeps_a_run_alive(
    manager: JobManager, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mor_core.server.jobs.SILENCE_S", 1000.0)
    job = manager.submit("model", led_by_its_reader(manager, burst=20, silence_s=600.0))
    client.get(stream_url(job))
    assert job.status == "done"


def test_failure_reaches_the_reader(manager: JobManager, client: TestClient) -> None:
    def broken(should_stop: Any) -> Iterator[Any]:
        yield from ()
        raise ValueError("checkpoint config.json is missing; train or download one")

    job = manager.submit("model", broken)
    last = messages(client.get(stream_url(job)).text)[-1]
    assert last["status"] == {
        "name": "failed",
        "ahead": 0,
        "message": "checkpoint config.json is missing; train or download one",
    }
