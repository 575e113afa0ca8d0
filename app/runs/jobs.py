"""Runs jobs beside the web server, and keeps what they have produced so far.

One worker thread a model. It moves several jobs at once, one update from each in turn, so that they can share a batch;
more wait, viewers taking turns. A job survives whatever its viewer clicks; it ends by itself, by `cancel`, or when
nobody has asked for it for `SILENCE_S`. Knows neither Streamlit nor torch: a job is any iterator of trace updates.
"""

import functools
import logging
import secrets
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from app.runs.fair_queue import FairQueue, Owner
from app.text.error_messages import problem_text
from app.text.words import viewer_language
from mor_core.traces import events  # by module, since `app.bench_server` replaces `tokens_event`
from mor_core.traces.events import Event
from mor_core.traces.trace import StepRecord, TokenRecord, Trace, TraceHeader

logger = logging.getLogger(__name__)

SILENCE_S = 15.0
MAX_TOGETHER = 8
"""Runs of one model under way at once; more wait."""
MAX_FINISHED_JOBS = 64  # kept for viewers who come back; a 512-token run takes about 2 MB


class Update(Protocol):
    """What a job's iterator yields; `mor_core.generation.generation.TraceUpdate` is one."""

    header: TraceHeader
    completed: list[TokenRecord]
    newest: TokenRecord | None
    step: StepRecord | None
    finish_reason: str | None


Work = Callable[[Callable[[], bool]], Iterator[Update | None]]
"""Takes `should_stop` and yields updates, `None` where nothing is new. Loads its model on the way, so that waiting is
the worker's."""


class JobStatus(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    LOADING = "loading"
    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


class _Over:
    """Stands for the end of a job's updates."""


_OVER = _Over()
FINISHED = frozenset({JobStatus.DONE, JobStatus.CANCELLED, JobStatus.FAILED})


@dataclass(eq=False)
class Job:
    """One run. Only its worker writes; readers take a length first and never see an event change.

    Attributes:
        id: unguessable, since whoever knows it may read the run.
        events: append-only.
        trace: grows with the run; complete when the job is finished.
        message: why it failed.
        owner: the viewer who asked for it.
        language: of that viewer.
    """

    work: Work | None
    owner: Owner | None = None
    language: str = field(default_factory=viewer_language)
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    status: JobStatus = JobStatus.QUEUED
    events: list[Event] = field(default_factory=list)
    trace: Trace | None = None
    message: str = ""
    created: float = field(default_factory=time.monotonic)
    last_seen: float = field(default_factory=time.monotonic)
    _updates: Iterator[Update | None] | None = None
    _last: Update | None = None
    _cancelled: threading.Event = field(default_factory=threading.Event)
    _start: threading.Lock = field(default_factory=threading.Lock)

    @property
    def is_finished(self) -> bool:
        """Whether no event will follow."""
        return self.status in FINISHED

    def cancel(self) -> None:
        """Ask the run to stop after the current token; one that still waits is over at once."""
        self._cancelled.set()
        with self._start:
            if self.status is JobStatus.QUEUED:
                self.status = JobStatus.CANCELLED

    def touch(self) -> None:
        """Note that somebody still watches."""
        self.last_seen = time.monotonic()

    def should_stop(self) -> bool:
        """Whether the run was cancelled or nobody watches any more."""
        return self._cancelled.is_set() or time.monotonic() - self.last_seen > SILENCE_S

    def advance(self) -> None:
        """Begin, or take one update; every way out leaves a finished status."""
        try:
            if self._updates is None:
                self._begin()
            elif self.should_stop():
                self._end("cancelled")
            else:
                self._take(next(self._updates, _OVER))
        except Exception as error:
            if not isinstance(error, (ValueError, OSError)):
                logger.exception("job %s failed", self.id)
            self.message = problem_text(error, self.language)
            self.status = JobStatus.FAILED

    def _begin(self) -> None:
        work, self.work = self.work, None
        with self._start:
            if work is None or self.should_stop():
                self.status = JobStatus.CANCELLED
                return
            self.status = JobStatus.LOADING
        self._updates = work(self.should_stop)

    def _take(self, update: Update | _Over | None) -> None:
        if update is _OVER:
            self._end(None)
            return
        if update is None:
            return
        assert not isinstance(update, _Over)
        if self.trace is None:
            self.trace = Trace(update.header)
            self.events.append(events.header_event(update.header))
            self.status = JobStatus.RUNNING
        steps = [] if update.step is None else [update.step]
        self.trace.tokens.extend(update.completed)
        self.trace.steps.extend(steps)
        self.events.append(
            events.tokens_event(update.header, update.completed, update.newest, steps)
        )
        self._last = update
        if update.finish_reason:
            self._end(update.finish_reason)

    def _end(self, finish_reason: str | None) -> None:
        close = getattr(self._updates, "close", None)
        if close is not None:
            close()  # the run gives its place in the batch back
        if self.trace is not None:
            newest = None if self._last is None else self._last.newest
            self._close_trace(self.trace, newest, finish_reason)
        is_cancelled = finish_reason == "cancelled" or (
            finish_reason is None and self.should_stop()
        )
        self.status = JobStatus.CANCELLED if is_cancelled else JobStatus.DONE

    def _close_trace(
        self, trace: Trace, newest: TokenRecord | None, finish_reason: str | None
    ) -> None:
        if newest is not None and newest.position == len(trace.tokens):
            trace.tokens.append(newest)
        trace.header.finish_reason = finish_reason
        self.events.append(events.end_event(finish_reason))


class JobManager:
    """All jobs of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: dict[str, Job] = {}
        self._queues: dict[Hashable, FairQueue[Job]] = {}

    def submit(self, model_key: Hashable, work: Work, owner: Owner | None = None) -> Job:
        """Queue a run of a model.

        Args:
            model_key: names the worker.
            work: what to run.
            owner: who asks, and for what; the same owner's waiting run is replaced. `None` replaces nothing.
        """
        job = Job(work, owner)
        with self._lock:
            self._forget_old()
            self._jobs[job.id] = job
            if owner is not None:
                for other in self._queues.values():
                    other.replace(owner)
            queue = self._queues.get(model_key)
            if queue is not None:
                queue.put(job)
                return job
            queue = self._queues[model_key] = FairQueue()
            queue.put(job)
        threading.Thread(
            target=self._drain, args=(model_key,), name="mor-worker", daemon=True
        ).start()
        return job

    def find(self, job_id: str) -> Job | None:
        """Return a job by its id, `None` if unknown or forgotten."""
        with self._lock:
            return self._jobs.get(job_id)

    def num_ahead(self, job: Job) -> int:
        """Count the runs that must end before this one begins."""
        with self._lock:
            return max((queue.num_ahead(job) for queue in self._queues.values()), default=0)

    def jobs_of(self, model_key: Hashable) -> list[Job]:
        """Return a model's jobs that run or wait."""
        with self._lock:
            queue = self._queues.get(model_key)
            return [] if queue is None else queue.runs()

    def _drain(self, model_key: Hashable) -> None:
        """Move a model's jobs until there are none: one update from each in turn."""
        running: list[Job] = []
        while True:
            with self._lock:
                queue = self._queues[model_key]
                while len(running) < MAX_TOGETHER and (job := queue.take()) is not None:
                    running.append(job)
                if not running:
                    del self._queues[model_key]
                    return
            for job in list(running):
                job.advance()
                if job.is_finished:
                    running.remove(job)
                    with self._lock:
                        queue.done(job)

    def _forget_old(self) -> None:
        finished = [job_id for job_id, job in self._jobs.items() if job.is_finished]
        for job_id in finished[: max(0, len(finished) - MAX_FINISHED_JOBS)]:
            del self._jobs[job_id]


@functools.cache
def job_manager() -> JobManager:
    """Return this process's manager, the same for the pages and for the event route."""
    return JobManager()


def job_batch(job: Job, start: int, num_ahead: int = 0) -> dict[str, Any]:
    """Return the events from `start` on and where the job stands.

    The status is read before the events: a finished status therefore comes with the last event or later.
    """
    status = job.status
    return {
        "from": start,
        "events": job.events[start:],
        "status": {"name": status.value, "ahead": num_ahead, "message": job.message},
    }
