"""Jobs: the work, its status, and the events that it has produced so far.

A job is independent of page reruns; it ends when its work ends, by `cancel`, or when no viewer has polled it for
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
"""A run's updates; `None` stands for progress without an update."""
Work = Callable[[Callable[[], bool]], "Run | Updates"]
"""Takes `should_stop`; returns a run for the engine, or an iterator of the updates of other work. The worker calls it
on its own thread, where it may load its model."""


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
    """One job. Only its worker writes; readers read the length of `events` first, and events never change.

    Attributes:
        work: the work; `None` once it has begun.
        owner: the viewer who submitted it.
        language: the viewer's language, for error messages.
        id: unguessable, since anyone who knows it may read the run.
        status: its status.
        events: append-only.
        error: why it failed.
        created: monotonic time.
        last_seen: monotonic time at which a viewer last polled it.
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
        """The trace so far, complete when the job is finished; `None` before the first update."""
        return self._builder.trace

    @property
    def is_finished(self) -> bool:
        """Whether no event will follow."""
        return self.status in FINISHED

    def cancel(self) -> None:
        """Stop the run after the current token; a run that still waits ends at once."""
        self._cancelled.set()
        with self._start:
            if self.status is JobStatus.QUEUED:
                self.status = JobStatus.CANCELLED

    def touch(self) -> None:
        """Record that a viewer still polls the job."""
        self.last_seen = time.monotonic()

    def should_stop(self) -> bool:
        """Whether the run was cancelled or no viewer polls it any more."""
        return self._cancelled.is_set() or time.monotonic() - self.last_seen > SILENCE_S

    def begin(self) -> "Run | Updates | None":
        """Start the work; `None` if the job should stop."""
        work, self.work = self.work, None
        with self._start:
            if work is None or self.should_stop():
                self.status = JobStatus.CANCELLED
                return None
            self.status = JobStatus.LOADING
        return work(self.should_stop)

    def take(self, update: TraceUpdate) -> None:
        """Add an update of the run."""
        if self.trace is None:
            self.events.append(header_event(update.header))
            self.status = JobStatus.RUNNING
        self._builder.take(update)
        steps = [] if update.step is None else [update.step]
        self.events.append(tokens_event(update.header, update.completed, update.newest, steps))
        if update.finish_reason:
            self.end(update.finish_reason)

    def end(self, finish_reason: str | None) -> None:
        """End the run, complete or not."""
        trace = self._builder.close()
        if trace is not None:
            trace.header.finish_reason = finish_reason
            self.events.append(end_event(finish_reason))
        is_cancelled = finish_reason == "cancelled" or (
            finish_reason is None and self.should_stop()
        )
        self.status = JobStatus.CANCELLED if is_cancelled else JobStatus.DONE

    def fail(self, error: Exception) -> None:
        """End the run with an error, which its viewer is shown; the trace so far stays."""
        if not isinstance(error, (ValueError, OSError)):
            logger.error("job %s failed", self.id, exc_info=error)
        self.error = error.with_traceback(None)  # its frames would keep the model in memory
        self.status = JobStatus.FAILED


def job_batch(job: Job, start: int, num_ahead: int = 0, message: str = "") -> dict[str, Any]:
    """Return the events from `start` on and the status of the job.

    The status is read before the events, so that a finished status never comes without the last event.

    Args:
        job: the job.
        start: index of the first event.
        num_ahead: the runs that must end before this one begins.
        message: why it failed, in its viewer's language.
    """
    status = job.status
    return {
        "from": start,
        "events": job.events[start:],
        "status": {"name": status.value, "ahead": num_ahead, "message": message},
    }
