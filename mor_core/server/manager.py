"""The jobs of a process: passes each to the worker of its model, and finds jobs by id."""

import threading
from collections.abc import Hashable

from mor_core.server.fair_queue import Owner
from mor_core.server.jobs import Job, Work
from mor_core.server.worker import MakeEngine, OnUpdate, Worker, plain_engine

NUM_SLOTS = 8
"""Maximum number of simultaneous jobs per model; further jobs wait."""
MAX_FINISHED_JOBS = 64  # kept for viewers who come back; a 512-token run takes about 2 MB


class JobManager:
    """All jobs, and one worker for each model with jobs.

    Attributes:
        on_update: called on the worker's thread with each update before it is published; may block. A change applies to
            workers that start later.
    """

    def __init__(
        self,
        make_engine: MakeEngine = plain_engine,
        *,
        num_slots: int = NUM_SLOTS,
        on_update: OnUpdate = lambda _: None,
    ) -> None:
        """Create a manager without jobs.

        Args:
            make_engine: returns a new engine for a model.
            num_slots: maximum number of simultaneous jobs per model.
            on_update: see the class.

        Raises:
            ValueError: `num_slots` is below 1.
        """
        if num_slots < 1:
            raise ValueError(f"num_slots must be at least 1, got {num_slots}")
        self.on_update = on_update
        self._make_engine = make_engine
        self._num_slots = num_slots
        self._lock = threading.Lock()
        self._jobs: dict[str, Job] = {}
        self._workers: dict[Hashable, Worker] = {}

    def submit(
        self, model_key: Hashable, work: Work, owner: Owner | None = None, language: str = "en"
    ) -> Job:
        """Queue a run of a model.

        Args:
            model_key: identifies the model's worker.
            work: the run's work.
            owner: viewer and purpose; replaces the same owner's waiting run. `None` replaces nothing.
            language: the viewer's language.
        """
        job = Job(work, owner, language)
        with self._lock:
            self._forget_old()
            self._jobs[job.id] = job
            if owner is not None:
                for other in self._workers.values():
                    other.queue.replace(owner)
            worker = self._workers.get(model_key)
            if worker is not None and not worker.is_over:
                worker.queue.put(job)
                return job
            worker = Worker(self._lock, self._num_slots, self._make_engine, self.on_update)
            self._workers[model_key] = worker
            worker.queue.put(job)
        threading.Thread(target=worker.run, name="mor-worker", daemon=True).start()
        return job

    def find(self, job_id: str) -> Job | None:
        """Return a job by its id; `None` if unknown or removed."""
        with self._lock:
            return self._jobs.get(job_id)

    def num_ahead(self, job: Job) -> int:
        """Return the job's place among its model's waiting runs, from 1; 0 if it does not wait."""
        with self._lock:
            return max(
                (worker.queue.num_ahead(job) for worker in self._workers.values()), default=0
            )

    def jobs_of(self, model_key: Hashable) -> list[Job]:
        """Return a model's running and waiting jobs."""
        with self._lock:
            worker = self._workers.get(model_key)
            return [] if worker is None else worker.queue.runs()

    def _forget_old(self) -> None:
        finished = [job_id for job_id, job in self._jobs.items() if job.is_finished]
        for job_id in finished[: max(0, len(finished) - MAX_FINISHED_JOBS)]:
            del self._jobs[job_id]
        over = [model_key for model_key, worker in self._workers.items() if worker.is_over]
        for model_key in over:
            del self._workers[model_key]
