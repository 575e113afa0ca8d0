"""Twenty viewers run one real model at once through the event route: each reads its own run and nothing else."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from app.runs import generation_jobs, jobs, resources
from app.runs.requests import GenerationRequest
from app.runs.stream import STREAM_ROUTE, stream_url
from mor_core.checkpoints.checkpoint import CheckpointInfo, LoadedCheckpoint, describe_checkpoint
from mor_core.generation.generation import collect_trace, generate_with_trace
from mor_core.model.routing_rules import RoutingRule
from mor_core.server.fair_queue import Owner
from mor_core.server.jobs import Job, JobStatus
from mor_core.server.manager import JobManager
from tests.runs.test_stream import messages

NUM_VIEWERS = 20
NEW_TOKENS = 6


@pytest.fixture
def info(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> CheckpointInfo:
    monkeypatch.setenv("MOR_CHECKPOINTS", str(tiny_checkpoint.parent))
    monkeypatch.setenv("MOR_DEVICE", "cpu")
    monkeypatch.setenv("MOR_DTYPE", "float32")
    return describe_checkpoint(tiny_checkpoint)


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> JobManager:
    manager = JobManager()
    monkeypatch.setattr(jobs, "job_manager", lambda: manager)
    return manager


def asked(info: CheckpointInfo, viewer: int) -> GenerationRequest:
    """Return a request that no other viewer makes: own prompt, own seed, own depth rule for every fourth."""
    return GenerationRequest(
        checkpoint=info,
        prompt=f"The rabbit {viewer} ran",
        max_new_tokens=NEW_TOKENS,
        temperature=0.9,
        top_k=0,
        seed=viewer,
        routing=RoutingRule.fixed(1 + viewer % 3) if viewer % 4 == 0 else RoutingRule.causal(),
    )


def expected_tokens(loaded: LoadedCheckpoint, request: GenerationRequest) -> list[tuple[int, Any]]:
    """Run the request alone, one after the other."""
    trace = collect_trace(
        generate_with_trace(
            loaded,
            request.prompt,
            max_new_tokens=request.max_new_tokens,
            temperature=request.temperature,
            top_k=request.top_k or None,
            seed=request.seed,
            routing=request.routing,
        )
    )
    return [(token.token_id, token.recursion_depth) for token in trace.tokens]


def read_tokens(received: list[dict[str, Any]]) -> list[tuple[int, Any]]:
    """Put a viewer's tokens together as the browser does."""
    tokens: dict[int, tuple[int, Any]] = {}
    for event in (event for message in received for event in message["events"]):
        if event["kind"] == "tokens":
            for token in [*event["completed"], *([event["newest"]] if event["newest"] else [])]:
                tokens[token["position"]] = (token["token_id"], token["recursion_depth"])
    return [tokens[position] for position in sorted(tokens)]


def watch(jobs: list[Job]) -> list[list[dict[str, Any]]]:
    """Read every job's route at once, each with a connection of its own."""

    def read(job: Job) -> list[dict[str, Any]]:
        answer = TestClient(Starlette(routes=[STREAM_ROUTE])).get(stream_url(job))
        assert answer.status_code == 200
        return messages(answer.text)

    with ThreadPoolExecutor(len(jobs)) as viewers:
        return list(viewers.map(read, jobs))


def test_twenty_viewers_read_their_own_runs_and_their_place(
    info: CheckpointInfo, tiny_loaded: LoadedCheckpoint, manager: JobManager
) -> None:
    requests = [asked(info, viewer) for viewer in range(NUM_VIEWERS)]
    jobs = [
        manager.submit(
            resources.model_key(info),
            generation_jobs.generation_work(request),
            Owner(f"viewer {viewer}", "live"),
        )
        for viewer, request in enumerate(requests)
    ]
    received = watch(jobs)
    assert [job.status for job in jobs] == [JobStatus.DONE] * NUM_VIEWERS
    for request, own in zip(requests, received, strict=True):
        assert read_tokens(own) == expected_tokens(tiny_loaded, request), request.prompt
        places = [message["status"]["ahead"] for message in own]
        assert places == sorted(places, reverse=True), "nobody overtakes"
        assert places[-1] == 0
        assert own[-1]["status"]["name"] == "done"
    distinct = {tuple(read_tokens(own)) for own in received}
    assert len(distinct) == NUM_VIEWERS, "a mix-up would be seen"
