"""The queue of one model's runs: viewers take turns, however many runs one of them submits.

Runs that were cancelled, or whose viewer has gone, leave the queue. It is independent of models and not thread-safe:
the caller must hold a lock.
"""

from typing import Generic, NamedTuple, Protocol, TypeVar


class Owner(NamedTuple):
    """Who submits a run, and for what purpose: a newer run of the same owner replaces a waiting one.

    Attributes:
        viewer: the viewer's session.
        purpose: such as `live`; runs for different purposes do not replace each other.
    """

    viewer: str
    purpose: str


class Waiting(Protocol):
    """What the queue needs of a run."""

    @property
    def owner(self) -> Owner | None:
        """Who submitted it; a run without an owner counts as its own viewer."""

    @property
    def is_finished(self) -> bool:
        """Whether it has ended."""

    def should_stop(self) -> bool:
        """Whether it was cancelled or its viewer has gone."""

    def cancel(self) -> None:
        """End it."""


Run = TypeVar("Run", bound=Waiting)


class FairQueue(Generic[Run]):
    """The runs of one model: those that run and those that wait.

    A new run gets a turn: the current one, or the one after its viewer's last. So a viewer with many runs
    waits behind the next run of every other viewer, and no run waits for ever.
    """

    def __init__(self) -> None:
        self._running: list[Run] = []
        self._waiting: list[tuple[int, Run]] = []  # by turn, then by arrival
        self._turn = 0
        self._last_turn: dict[object, int] = {}  # per viewer, of the runs that have begun

    def put(self, run: Run) -> None:
        """Add a run to those that wait."""
        viewer = _viewer(run)
        turns = [turn for turn, other in self._waiting if _viewer(other) == viewer]
        last = max(turns, default=self._last_turn.get(viewer, -1))
        self._waiting.append((max(self._turn, last + 1), run))
        self._waiting.sort(key=lambda pair: pair[0])

    def replace(self, owner: Owner) -> None:
        """Cancel the waiting runs of the same viewer and purpose."""
        for _, run in self._waiting:
            if run.owner == owner:
                run.cancel()
        self._drop_unwanted()

    def take(self) -> Run | None:
        """Begin the next run; `None` if no run waits."""
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
        """Number of runs that have begun and not ended."""
        return len(self._running)

    def runs(self) -> list[Run]:
        """Return the running runs, then the waiting ones in order."""
        self._drop_unwanted()
        return [*self._running, *(run for _, run in self._waiting)]

    def num_ahead(self, run: Run) -> int:
        """Count the runs that must end before this one begins; 0 if it runs or is not in this queue."""
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
