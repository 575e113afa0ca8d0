"""Jobs: a viewer's request as work, its status, and its output so far.

A job does not depend on its viewer's page. It ends by itself, by `cancel`, or when no viewer has polled it for
`SILENCE_S`. Imports no torch: the work brings the model.
"""

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from mor_core.server.fair_queue import Owner
from mor_core.traces.events import Event, end_event, header_event, tokens_event
from mor_core.traces.trace import Trace
from mor_core.traces.trace_updates import TraceBuilder, TraceUpdate

if TYPE_CHECKING:
    from mor_core.generation.generation_run import Run

logger = logging.getLogger(__name__)

SILENCE_S = 15.0

Updates = Iterator[TraceUpdate | None]
"""A run's updates, `None` where nothing is new."""
Work = Callable[[Callable[[], bool]], "Run | Updates"]
"""Takes `should_stop`; returns a run for the engine, or an iterator of updates that the worker advances one by one.
The worker's thread calls it, so it may load a model."""


class JobStatus(StrEnum):
    """The status of a job."""

    QUEUED = "queued"
    LOADING = "loading"
    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


FINISHED = frozenset({JobStatus.DONE, JobStatus.CANCELLED, JobStatus.FAILED})


@dataclass(eq=False)
class Job:
    """One run. Only its worker writes; events never change, so readers need no lock.

    Attributes:
        work: the run's work; `None` once it has started.
        owner: the viewer and purpose.
        language: the viewer's language, for error messages.
        id: a random secret, because knowing it suffices to read the run.
        status: the present status.
        events: the events so far; append-only.
        error: the error that ended the job.
        created: monotonic time of creation.
        last_seen: monotonic time of the last poll.
    """

    work: Work | None
    owner: Owner | None = None
    language: str = "en"
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    status: JobStatus = JobStatus.QUEUED
    events: list[Event] = field(default_factory=list)
    error: Exception | None = None
    created: float = field(default_factory=time.monotonic)
    last_seen: float = field(default_factory=time.monotonic)
    _builder: TraceBuilder = field(default_factory=TraceBuilder)
    _cancelled: threading.Event = field(default_factory=threading.Event)
    _start: threading.Lock = field(default_factory=threading.Lock)

    @property
    def trace(self) -> Trace | None:
        """The run's trace so far, complete when the job is finished; `None` before the first update."""
        return self._builder.trace

    @property
    def is_finished(self) -> bool:
        """Whether the job is over, so that no event follows."""
        return self.status in FINISHED

    def cancel(self) -> None:
        """Stop the run after the current token; a waiting run ends at once."""
        self._cancelled.set()
        with self._start:
            if self.status is JobStatus.QUEUED:
                self.status = JobStatus.CANCELLED

    def touch(self) -> None:
        """Record that a viewer still watches."""
        self.last_seen = time.monotonic()

    def should_stop(self) -> bool:
        """Whether the run was cancelled, or no viewer has polled it for `SILENCE_S`."""
        return self._cancelled.is_set() or time.monotonic() - self.last_seen > SILENCE_S

    def begin(self) -> "Run | Updates | None":
        """Start the work and return its run or updates; `None` if the job was cancelled or abandoned."""
        work, self.work = self.work, None
        with self._start:
            if work is None or self.should_stop():
                self.status = JobStatus.CANCELLED
                return None
            self.status = JobStatus.LOADING
        return work(self.should_stop)

    def take(self, update: TraceUpdate) -> None:
        """Add an update to the trace and the events."""
        if self.trace is None:
            self.events.append(header_event(update.header))
            self.status = JobStatus.RUNNING
        self._builder.take(update)
        steps = [] if update.step is None else [update.step]
        self.events.append(tokens_event(update.header, update.completed, update.newest, steps))
        if update.finish_reason:
            self.end(update.finish_reason)

    def end(self, finish_reason: str | None) -> None:
        """End the job; the trace keeps what was computed."""
        trace = self._builder.close()
        if trace is not None:
            trace.header.finish_reason = finish_reason
            self.events.append(end_event(finish_reason))
        is_cancelled = finish_reason == "cancelled" or (
            finish_reason is None and self.should_stop()
        )
        self.status = JobStatus.CANCELLED if is_cancelled else JobStatus.DONE

    def fail(self, error: Exception) -> None:
        """End the job with an error, which its viewer sees; the trace keeps what was computed."""
        if not isinstance(error, (ValueError, OSError)):
            logger.error("job %s failed", self.id, exc_info=error)
        self.error = error.with_traceback(
            None
        )  # the traceback's frames would keep the model in memory
        self.status = JobStatus.FAILED


def job_batch(job: Job, start: int, num_ahead: int = 0, message: str = "") -> dict[str, Any]:
    """Return a job's events from `start` on, and its status.

    The status is read before the events, so a finished status never arrives before the last event.

    Args:
        job: the job.
        start: index of the first event.
        num_ahead: the job's place among the waiting runs.
        message: why the job failed, in its viewer's language.
    """
    status = job.status
    return {
        "from": start,
        "events": job.events[start:],
        "status": {"name": status.value, "ahead": num_ahead, "message": message},
    }
