"""A fair queue for the runs of one model: viewers take turns, however many runs one of them requests.

Cancelled runs and runs of absent viewers are dropped. The queue knows nothing of models and is not thread-safe: its
user must hold a lock.
"""

from typing import Generic, NamedTuple, Protocol, TypeVar


class Owner(NamedTuple):
    """A viewer and a purpose; a newer run of the same owner replaces one that still waits.

    Attributes:
        viewer: id of the session.
        purpose: such as `live`; runs for different purposes do not replace each other.
    """

    viewer: str
    purpose: str


class Waiting(Protocol):
    """The interface of a run that the queue needs."""

    @property
    def owner(self) -> Owner | None:
        """The run's owner; each run without an owner counts as a viewer of its own."""

    @property
    def is_finished(self) -> bool:
        """Whether the run is over."""

    def should_stop(self) -> bool:
        """Whether the run was cancelled or its viewer is gone."""

    def cancel(self) -> None:
        """Cancel the run."""


Run = TypeVar("Run", bound=Waiting)


class FairQueue(Generic[Run]):
    """The running and waiting runs of one model.

    Every new run gets a turn: the present turn, or the turn after its viewer's last run. So the later runs of a viewer
    who requests many wait behind every other viewer's next run, and no run waits forever.
    """

    def __init__(self) -> None:
        self._running: list[Run] = []
        self._waiting: list[tuple[int, Run]] = []  # by turn, then by arrival
        self._turn = 0
        self._last_turn: dict[object, int] = {}  # of each viewer's started runs

    def put(self, run: Run) -> None:
        """Add a run to the waiting runs."""
        viewer = _viewer(run)
        turns = [turn for turn, other in self._waiting if _viewer(other) == viewer]
        last = max(turns, default=self._last_turn.get(viewer, -1))
        self._waiting.append((max(self._turn, last + 1), run))
        self._waiting.sort(key=lambda pair: pair[0])

    def replace(self, owner: Owner) -> None:
        """Cancel the owner's waiting runs."""
        for _, run in self._waiting:
            if run.owner == owner:
                run.cancel()
        self._drop_unwanted()

    def take(self) -> Run | None:
        """Move the next waiting run to the running ones and return it; `None` if none waits."""
        self._drop_unwanted()
        if not self._waiting:
            return None
        self._turn, run = self._waiting.pop(0)
        self._last_turn[_viewer(run)] = self._turn
        self._running.append(run)
        return run

    def done(self, run: Run) -> None:
        """Remove a run that has ended."""
        self._running.remove(run)

    @property
    def num_running(self) -> int:
        """Number of running runs."""
        return len(self._running)

    def runs(self) -> list[Run]:
        """Return the running runs, then the waiting ones in order of turn."""
        self._drop_unwanted()
        return [*self._running, *(run for _, run in self._waiting)]

    def num_ahead(self, run: Run) -> int:
        """Return the run's place among the waiting runs, from 1; 0 if it does not wait."""
        self._drop_unwanted()
        waiting = [other for _, other in self._waiting]
        return waiting.index(run) + 1 if run in waiting else 0

    def _drop_unwanted(self) -> None:
        for _, run in self._waiting:
            if run.should_stop():
                run.cancel()
        self._waiting = [(turn, run) for turn, run in self._waiting if not run.is_finished]


def _viewer(run: Waiting) -> object:
    return run if run.owner is None else run.owner.viewer
