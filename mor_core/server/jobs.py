"""Jobs: what was asked for, where it stands, and what it has produced so far.

A job survives whatever its viewer clicks; it ends by itself, by `cancel`, or when nobody has asked for it for
`SILENCE_S`. Imports no torch: the model comes with the work.
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
"""Takes `should_stop`; returns a run for the engine, or the updates of other work, which the worker draws one by one.
Called on the worker's thread, where it may load its model."""


class JobStatus(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    LOADING = "loading"
    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


FINISHED = frozenset({JobStatus.DONE, JobStatus.CANCELLED, JobStatus.FAILED})


@dataclass(eq=False)
class Job:
    """One run. Only its worker writes; readers take a length first and never see an event change.

    Attributes:
        work: what to run; `None` once it has begun.
        owner: the viewer who asked for it.
        language: of that viewer, for whoever says why it failed.
        id: unguessable, since whoever knows it may read the run.
        status: where it stands.
        events: append-only.
        error: why it failed.
        created: monotonic time.
        last_seen: monotonic time at which somebody last asked for it.
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
        """What the run has produced so far, complete when the job is finished; `None` before the first update."""
        return self._builder.trace

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

    def begin(self) -> "Run | Updates | None":
        """Start the work; `None` if nobody wants it any more."""
        work, self.work = self.work, None
        with self._start:
            if work is None or self.should_stop():
                self.status = JobStatus.CANCELLED
                return None
            self.status = JobStatus.LOADING
        return work(self.should_stop)

    def take(self, update: TraceUpdate) -> None:
        """Add what became known of the run."""
        if self.trace is None:
            self.events.append(header_event(update.header))
            self.status = JobStatus.RUNNING
        self._builder.take(update)
        steps = [] if update.step is None else [update.step]
        self.events.append(tokens_event(update.header, update.completed, update.newest, steps))
        if update.finish_reason:
            self.end(update.finish_reason)

    def end(self, finish_reason: str | None) -> None:
        """Close the run, however far it came."""
        trace = self._builder.close()
        if trace is not None:
            trace.header.finish_reason = finish_reason
            self.events.append(end_event(finish_reason))
        is_cancelled = finish_reason == "cancelled" or (
            finish_reason is None and self.should_stop()
        )
        self.status = JobStatus.CANCELLED if is_cancelled else JobStatus.DONE

    def fail(self, error: Exception) -> None:
        """Close the run for an error, which whoever asked for it is told; what was computed stays."""
        if not isinstance(error, (ValueError, OSError)):
            logger.error("job %s failed", self.id, exc_info=error)
        self.error = error.with_traceback(None)  # whose frames would keep the model in memory
        self.status = JobStatus.FAILED


def job_batch(job: Job, start: int, num_ahead: int = 0, message: str = "") -> dict[str, Any]:
    """Return the events from `start` on and where the job stands.

    The status is read before the events: a finished status therefore comes with the last event or later.

    Args:
        job: whose.
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
