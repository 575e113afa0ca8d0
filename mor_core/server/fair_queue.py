"""Who comes next on one model: viewers take turns, however many runs one of them asks for.

Runs that were cancelled, or whose viewer has gone, count for nobody's place. Knows nothing of models and threads:
whoever uses it holds a lock.
"""

from typing import Generic, NamedTuple, Protocol, TypeVar


class Owner(NamedTuple):
    """Who asks for a run, and for what: a newer run for the same replaces one that still waits.

    Attributes:
        viewer: the session.
        purpose: such as `live`; runs for different purposes stand beside each other.
    """

    viewer: str
    purpose: str


class Waiting(Protocol):
    """What the queue needs to know of a run."""

    @property
    def owner(self) -> Owner | None:
        """Who asked for it; nobody's runs are a viewer of their own each."""

    @property
    def is_finished(self) -> bool:
        """Whether it is over."""

    def should_stop(self) -> bool:
        """Whether nobody wants it any more."""

    def cancel(self) -> None:
        """End it."""


Run = TypeVar("Run", bound=Waiting)


class FairQueue(Generic[Run]):
    """The runs of one model: those that run and those that wait.

    Every run gets a turn when it comes: the present one, or the one after its viewer's last. So a viewer who asks for
    many runs waits behind everybody's next one, and nobody waits for ever.
    """

    def __init__(self) -> None:
        self._running: list[Run] = []
        self._waiting: list[tuple[int, Run]] = []  # by turn, then by arrival
        self._turn = 0
        self._last_turn: dict[object, int] = {}  # of each viewer's runs that have begun

    def put(self, run: Run) -> None:
        """Let a run wait."""
        viewer = _viewer(run)
        turns = [turn for turn, other in self._waiting if _viewer(other) == viewer]
        last = max(turns, default=self._last_turn.get(viewer, -1))
        self._waiting.append((max(self._turn, last + 1), run))
        self._waiting.sort(key=lambda pair: pair[0])

    def replace(self, owner: Owner) -> None:
        """Cancel what this viewer still waits for with the same purpose."""
        for _, run in self._waiting:
            if run.owner == owner:
                run.cancel()
        self._drop_unwanted()

    def take(self) -> Run | None:
        """Begin the next run, `None` if nobody waits."""
        self._drop_unwanted()
        if not self._waiting:
            return None
        self._turn, run = self._waiting.pop(0)
        self._last_turn[_viewer(run)] = self._turn
        self._running.append(run)
        return run

    def done(self, run: Run) -> None:
        """Note that a run has ended."""
        self._running.remove(run)

    @property
    def num_running(self) -> int:
        """How many have begun and not ended."""
        return len(self._running)

    def runs(self) -> list[Run]:
        """Return what runs, then what waits in the order of its turn."""
        self._drop_unwanted()
        return [*self._running, *(run for _, run in self._waiting)]

    def num_ahead(self, run: Run) -> int:
        """Count the runs that must end before this one begins; 0 if it runs or is not here."""
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
