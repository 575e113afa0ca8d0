"""One model's worker: a thread that owns the engine, and one loop: admit, step, dispatch.

Several runs share the engine's batch; more wait in one queue, in which viewers take turns. Work outside the engine
(loading a model, analysing a text, a rule that recomputes) advances by one update per round of the loop, so that
neither starves the other. torch is imported with the first run.
"""

import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from mor_core.server.fair_queue import FairQueue
from mor_core.server.jobs import Job, Updates
from mor_core.traces.trace_updates import TraceUpdate

if TYPE_CHECKING:
    from mor_core.generation.generation_run import Run
    from mor_core.model.model import MoRForCausalLM
    from mor_core.serving.engine import Engine
    from mor_core.serving.request_state import RequestState

MakeEngine = Callable[["MoRForCausalLM"], "Engine"]
OnUpdate = Callable[[TraceUpdate], None]


def plain_engine(model: "MoRForCausalLM") -> "Engine":
    """Return an engine with default settings."""
    from mor_core.serving.engine import Engine

    return Engine(model)


class Worker:
    """Runs the jobs of one model until none is left.

    Attributes:
        queue: its jobs; hold `lock` to read or change it.
        is_over: whether the loop has ended, after which it takes no more jobs.
    """

    def __init__(
        self, lock: threading.Lock, num_slots: int, make_engine: MakeEngine, on_update: OnUpdate
    ) -> None:
        """Prepare a worker.

        Args:
            lock: guards the queue.
            num_slots: jobs that run at once.
            make_engine: called when the first run of a model begins.
            on_update: called with each update before it is published; may block.
        """
        self.queue: FairQueue[Job] = FairQueue()
        self.is_over = False
        self._lock = lock
        self._num_slots = num_slots
        self._make_engine = make_engine
        self._on_update = on_update
        # Usually one; two while a model that was moved to another device still has runs on both devices.
        self._engines: list[Engine] = []
        self._generating: dict[RequestState, tuple[Job, Run]] = {}
        self._others: dict[Job, Updates] = {}

    def run(self) -> None:
        """Run the loop until no job is left."""
        # No local variables here: they would keep a model in memory that is no longer used.
        while self._admit():
            self._end_unwanted()
            self._step_engines()
            self._advance_others()

    def _admit(self) -> bool:
        """Begin jobs while slots are free; return whether any job is running."""
        admitted = []
        with self._lock:
            while self.queue.num_running < self._num_slots and (job := self.queue.take()):
                admitted.append(job)
            self.is_over = self.queue.num_running == 0
        for job in admitted:
            self._attempt(job, partial(self._begin, job))
        return not self.is_over

    def _attempt(self, job: Job, act: Callable[[], None]) -> None:
        """Act for one job. A failure is caught and reported here, and only here; a finished job frees its slot."""
        try:
            act()
        except Exception as error:
            job.fail(error)
        if job.is_finished:
            self._release(job)

    def _begin(self, job: Job) -> None:
        begun = job.begin()
        if begun is None:
            return
        if isinstance(begun, Iterator):
            self._others[job] = begun
            return
        from mor_core.generation.generation import recompute, submit
        from mor_core.serving.engine import can_follow

        model = begun.recorder.model
        if can_follow(model, begun.rule):
            self._generating[submit(self._engine_of(model), begun)] = job, begun
        else:
            self._others[job] = recompute(begun)

    def _engine_of(self, model: "MoRForCausalLM") -> "Engine":
        for engine in self._engines:
            if engine.model is model:
                return engine
        self._engines.append(self._make_engine(model))
        return self._engines[-1]

    def _dispatch(self, engine: "Engine", request: "RequestState", job: Job, run: "Run") -> None:
        from mor_core.generation.generation import dispatch

        self._publish(job, dispatch(engine, request, run))

    def _advance(self, job: Job, updates: Updates) -> None:
        """Get one update of work outside the engine."""
        try:
            update = next(updates)
        except StopIteration:
            job.end(None)
            return
        if update is not None:
            self._publish(job, update)

    def _publish(self, job: Job, update: TraceUpdate) -> None:
        self._on_update(update)
        job.take(update)

    def _step_engines(self) -> None:
        """Step each engine, and give each run its result."""
        for engine in self._engines:
            for request in engine.step():
                job, run = self._generating[request]
                self._attempt(job, partial(self._dispatch, engine, request, job, run))
        self._engines = [engine for engine in self._engines if not engine.is_idle]

    def _advance_others(self) -> None:
        for job, updates in list(self._others.items()):
            self._attempt(job, partial(self._advance, job, updates))

    def _end_unwanted(self) -> None:
        jobs = [job for job, _ in self._generating.values()]
        for job in [*jobs, *self._others]:
            if job.should_stop():
                self._attempt(job, partial(job.end, "cancelled"))

    def _release(self, job: Job) -> None:
        """Free the engine requests, the iterator and the slot of a finished job."""
        for request in [key for key, (other, _) in self._generating.items() if other is job]:
            del self._generating[request]
            for engine in self._engines:
                engine.end(request)
        updates = self._others.pop(job, None)
        close = getattr(updates, "close", None)
        if close is not None:
            close()
        with self._lock:
            self.queue.done(job)
