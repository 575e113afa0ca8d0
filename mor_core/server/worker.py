"""One model's worker: a thread that owns the engine, and one loop: admit, step, dispatch.

Several runs share the engine's batch; further runs wait in one fair queue. Work without the engine (loading a model,
analysing a text, a rule that recomputes the sequence) advances by one update per round, so that neither starves the
other. torch is imported with the first run.
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
    """Runs the jobs of one model until there are none.

    Attributes:
        queue: the worker's jobs; reading or changing it requires the lock.
        is_over: whether the loop has ended; then the worker takes no more jobs.
    """

    def __init__(
        self, lock: threading.Lock, num_slots: int, make_engine: MakeEngine, on_update: OnUpdate
    ) -> None:
        """Create a worker without jobs.

        Args:
            lock: guards the queue.
            num_slots: maximum number of simultaneous jobs.
            make_engine: returns a new engine for a model; called when its first run starts.
            on_update: called with each update before it is published; may block.
        """
        self.queue: FairQueue[Job] = FairQueue()
        self.is_over = False
        self._lock = lock
        self._num_slots = num_slots
        self._make_engine = make_engine
        self._on_update = on_update
        # Usually one engine; two while a model that moved to another device has runs on both.
        self._engines: list[Engine] = []
        self._generating: dict[RequestState, tuple[Job, Run]] = {}
        self._others: dict[Job, Updates] = {}

    def run(self) -> None:
        """Run until there are no jobs."""
        while self._admit():  # no local variables here: they would keep an unloaded model in memory
            self._end_unwanted()
            self._step_engines()
            self._advance_others()

    def _admit(self) -> bool:
        """Start jobs while there are free slots; return whether there is work to do."""
        admitted = []
        with self._lock:
            while self.queue.num_running < self._num_slots and (job := self.queue.take()):
                admitted.append(job)
            self.is_over = self.queue.num_running == 0
        for job in admitted:
            self._attempt(job, partial(self._begin, job))
        return not self.is_over

    def _attempt(self, job: Job, act: Callable[[], None]) -> None:
        """Call `act` for a job; the only place that catches a job's failure and frees its slot."""
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
        """Take one update of a job that does not use the engine."""
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
        """Step every engine, and dispatch the results to the runs."""
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
        """Free the resources of a finished job."""
        for request in [held for held, (own, _) in self._generating.items() if own is job]:
            del self._generating[request]
            for engine in self._engines:
                engine.end(request)
        updates = self._others.pop(job, None)
        close = getattr(updates, "close", None)
        if close is not None:
            close()
        with self._lock:
            self.queue.done(job)
