"""Measures peers in turn and says how sure it is: A B A B with warm-up, medians, spreads, and the roofline beside.

A benchmark is a function that takes a `Bench` and yields `Result`s; `registry.py` lists them, runs and saves them.
"""

import contextlib
import gc
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from mor_core.benchmarks.result import Better, Result, spread, with_ratio
from mor_core.benchmarks.roofline import Cost, Roofline

T = TypeVar("T")
Progress = Callable[[float, str], None]
"""Is told which share (0 to 1) of a benchmark is done, and what it measures."""
_SCALES = {"s": 1.0, "ms": 1e3, "us": 1e6}


class BenchmarkStopped(Exception):  # noqa: N818 - asked for, not an error
    """Whoever started the benchmark wants no more of it."""


@dataclass
class Side:
    """One of the peers.

    Attributes:
        name: what it is, in words that need no code to be understood.
        run: one run, timed from call to return.
        prepare: called before every run, not timed, such as filling a cache.
        work: units that one run makes, such as tokens.
        costs: what one run must do at least, phase after phase; a function if only the run knows.
    """

    name: str
    run: Callable[[], object]
    prepare: Callable[[], object] | None = None
    work: float = 1.0
    costs: Sequence[Cost] | Callable[[], Sequence[Cost]] = ()

    def phases(self) -> Sequence[Cost]:
        """Return the costs of the last run."""
        return self.costs() if callable(self.costs) else self.costs


@dataclass
class Bench:
    """What a benchmark measures with.

    Attributes:
        device: where the models run.
        dtype: of their numbers, as torch names it.
        quick: a short run, which measures less and says so.
        warm_ups: runs of each side that are not counted.
        repeats: runs of each side that are.
        planned: comparisons that the benchmark will make, for the progress; it may set them itself.
        roofline: what the machine can do at most; `None` where nobody measured it.
        on_progress: is told how far things are.
        should_stop: asked between runs.
        clock: seconds, monotonic.
        deadline: time of the clock at which a long benchmark is to yield what it has and end.
    """

    device: str = "cpu"
    dtype: str = "float32"
    quick: bool = False
    warm_ups: int = 1
    repeats: int = 5
    planned: int = 1
    roofline: Roofline | None = None
    on_progress: Progress = lambda _share, _what: None
    should_stop: Callable[[], bool] = lambda: False
    clock: Callable[[], float] = time.perf_counter
    deadline: float | None = None
    finished: int = 0

    def pick(self, full: T, quick: T) -> T:
        """Return what fits the length of this run."""
        return quick if self.quick else full

    def seconds_left(self) -> float:
        """Return the time until the deadline; infinite without one."""
        return float("inf") if self.deadline is None else self.deadline - self.clock()

    def compare(
        self,
        what: str,
        ours: Side,
        theirs: Side | None = None,
        *,
        unit: str,
        repeats: int | None = None,
        better: Better | None = None,
        aim: float | None = None,
        note: str = "",
        extra: Callable[[], dict[str, Any]] | None = None,
    ) -> Result:
        """Run the sides in turn and return medians, spreads, the ratio and its bound.

        Args:
            what: is measured.
            ours: our side.
            theirs: the peer; `None` to measure one side alone.
            unit: one that ends in `/s` is a rate of `work`; `s`, `ms` and `us` are the time of a run.
            repeats: other than the benchmark's.
            better: by default more of a rate and less of a time.
            aim: of the ratio, or of our number alone.
            note: conditions of this number.
            extra: further numbers, asked for when the runs are over.
        """
        sides = {"ours": ours} if theirs is None else {"ours": ours, "theirs": theirs}
        seconds = self._take_turns(what, sides, self.repeats if repeats is None else repeats)
        found = self._result(what, sides, seconds, unit)
        return replace(
            found,
            better=better or found.better,
            aim=aim,
            note=note,
            extra=found.extra | (extra() if extra else {}),
        )

    def compare_all(
        self,
        what: str,
        sides: Sequence[Side],
        peer: Side | None = None,
        *,
        unit: str,
        repeats: int | None = None,
        note: str = "",
    ) -> list[Result]:
        """Run any number of sides in turn, A B C A B C; return one result a side, in their order.

        When the time is up the round under way is dropped; nothing is returned before the first that counts is whole.

        Args:
            what: is measured; a result adds its side's name.
            sides: to be measured, each with a name of its own.
            peer: the one of them that the others are held against; `None` for none.
            unit: as in `compare`.
            repeats: other than the benchmark's.
            note: conditions of all.
        """
        named = {side.name: side for side in sides}
        repeats = self.repeats if repeats is None else repeats
        seconds = self._take_turns(what, named, repeats, ends_in_time=True)
        if not all(seconds.values()):
            return []
        found = []
        for side in sides:
            pair = {"ours": side}
            if peer is not None and peer is not side:
                pair["theirs"] = peer
            taken = {name: seconds[one.name] for name, one in pair.items()}
            result = self._result(f"{what}: {side.name}", pair, taken, unit)
            found.append(replace(result, note=note))
        return found

    def report(self, share: float, what: str) -> None:
        """Say how much of the present comparison is done.

        Raises:
            BenchmarkStopped: nobody waits for the rest.
        """
        if self.should_stop():
            raise BenchmarkStopped(what)
        self.on_progress(min(1.0, (self.finished + share) / max(self.planned, 1)), what)

    def finish(self, what: str) -> None:
        """Note that one of the planned comparisons is over."""
        self.finished += 1
        self.on_progress(min(1.0, self.finished / max(self.planned, 1)), what)

    def _take_turns(
        self, what: str, sides: Mapping[str, Side], repeats: int, *, ends_in_time: bool = False
    ) -> dict[str, list[float]]:
        """Run A B A B and return the seconds of each side in whole rounds, warm-ups left out.

        Args:
            what: is measured.
            sides: by name.
            repeats: rounds that count.
            ends_in_time: whether the deadline ends it, with fewer rounds.
        """
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        turns = [(number, name) for number in range(self.warm_ups + repeats) for name in sides]
        gc.collect()
        for place, (number, name) in enumerate(turns):
            if ends_in_time and self.seconds_left() <= 0:
                break
            self.report(place / len(turns), what)
            taken = self._timed(sides[name])
            if number >= self.warm_ups:
                seconds[name].append(taken)
        self.finish(what)
        whole = min(map(len, seconds.values()))
        return {name: found[:whole] for name, found in seconds.items()}

    def _result(
        self, what: str, sides: Mapping[str, Side], seconds: Mapping[str, list[float]], unit: str
    ) -> Result:
        """Make a result of the seconds of `ours` and, where there is a peer, `theirs`."""
        values = {
            name: [_value(side, s, unit) for s in seconds[name]] for name, side in sides.items()
        }
        least = {name: self._least(side) for name, side in sides.items()}
        shares = {
            name: bound / statistics.median(seconds[name])
            for name, bound in least.items()
            if bound is not None
        }
        theirs = sides.get("theirs")
        result = Result(
            what=what,
            peer=theirs.name if theirs else None,
            ours=statistics.median(values["ours"]),
            theirs=statistics.median(values["theirs"]) if theirs else None,
            unit=unit,
            better="higher" if unit.endswith("/s") else "lower",
            bound=_bound(sides, least, unit),
            repeats=len(seconds["ours"]),
            spread={name: spread(found) for name, found in values.items()},
            roofline_share=shares,
            extra={"our_side": sides["ours"].name},
        )
        return with_ratio(result)

    def _timed(self, side: Side) -> float:
        if side.prepare is not None:
            side.prepare()
        was_on = gc.isenabled()
        gc.disable()  # a collection in one side's run would be charged to it alone
        try:
            self._wait()
            started = self.clock()
            side.run()
            self._wait()
            return self.clock() - started
        finally:
            if was_on:
                gc.enable()

    def _wait(self) -> None:
        if self.device.startswith("cuda"):
            import torch

            torch.cuda.synchronize()

    def _least(self, side: Side) -> float | None:
        """Return the least seconds of one run by the roofline; `None` if unknown."""
        phases = side.phases()
        if self.roofline is None or not phases:
            return None
        return self.roofline.seconds(phases)


@contextlib.contextmanager
def threads(count: int | None) -> Iterator[int]:
    """Compute with so many threads of the processor, then with as many as before; `None` changes nothing."""
    import torch

    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


def _value(side: Side, seconds: float, unit: str) -> float:
    if unit.endswith("/s"):
        return side.work / seconds
    return seconds * _SCALES[unit]


def _bound(sides: Mapping[str, Side], least: dict[str, float | None], unit: str) -> float | None:
    """Return the ratio of the sides if each took the least time."""
    ours, theirs = least["ours"], least.get("theirs")
    if not ours or not theirs:
        return None
    return _value(sides["ours"], ours, unit) / _value(sides["theirs"], theirs, unit)
