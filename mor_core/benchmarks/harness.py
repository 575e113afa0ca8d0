"""Measures sides alternately (A B A B) with warm-up, and reports medians, spreads and roofline bounds.

A benchmark is a function that takes a `Bench` and yields `Result`s; `registry.py` lists, runs and saves benchmarks.
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
"""Takes the share (0 to 1) of a benchmark that is done, and what it measures now."""
_SCALES = {"s": 1.0, "ms": 1e3, "us": 1e6}


class BenchmarkStopped(Exception):  # noqa: N818 - a request, not an error
    """The caller has requested to stop the benchmark."""


@dataclass
class Side:
    """One of the measured implementations.

    Attributes:
        name: a description for readers who do not know the code.
        run: one run, timed from call to return.
        prepare: called before every run and not timed, such as filling a cache.
        work: units of work in one run, such as tokens.
        costs: the least cost of one run, phase by phase; a function if the costs are known only after a run.
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
    """The settings of a benchmark, and the methods that it measures with.

    Attributes:
        device: that the models run on.
        dtype: of the models, by torch's name.
        quick: whether to measure less in less time.
        warm_ups: untimed runs of each side.
        repeats: timed runs of each side.
        planned: number of comparisons, for the progress; the benchmark may set it.
        roofline: the machine's measured limits; `None` if not measured.
        on_progress: progress callback.
        should_stop: called between runs; if true, the benchmark stops.
        clock: monotonic time in seconds.
        deadline: time of the clock at which a long benchmark should stop and keep its results so far.
        finished: number of finished comparisons.
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
        """Return `quick` in a quick run, else `full`."""
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
        """Run the sides alternately and return medians, spreads, the ratio and its bound.

        Args:
            what: a description of the measured quantity.
            ours: our side.
            theirs: the peer; `None` to measure one side alone.
            unit: a unit that ends in `/s` is a rate of `work`; `s`, `ms` and `us` are the time of a run.
            repeats: overrides the benchmark's repeats.
            better: default: higher for a rate, lower for a time.
            aim: target of the ratio, or of our number without a peer.
            note: conditions of this number.
            extra: returns further numbers; called after the runs.
        """
        sides = {"ours": ours} if theirs is None else {"ours": ours, "theirs": theirs}
        seconds = self._alternate(what, sides, self.repeats if repeats is None else repeats)
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
        """Run any number of sides alternately (A B C A B C); return one result per side, in their order.

        At the deadline an incomplete round is dropped; the result is empty if no timed round was completed.

        Args:
            what: a description of the measured quantity; a result adds its side's name.
            sides: with distinct names.
            peer: the side among them to compare the others with; `None` for none.
            unit: as in `compare`.
            repeats: overrides the benchmark's repeats.
            note: conditions of all results.
        """
        named = {side.name: side for side in sides}
        repeats = self.repeats if repeats is None else repeats
        seconds = self._alternate(what, named, repeats, keeps_deadline=True)
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
        """Report the share of the present comparison that is done.

        Raises:
            BenchmarkStopped: the caller has requested to stop.
        """
        if self.should_stop():
            raise BenchmarkStopped(what)
        self.on_progress(min(1.0, (self.finished + share) / max(self.planned, 1)), what)

    def finish(self, what: str) -> None:
        """Count one of the planned comparisons as finished."""
        self.finished += 1
        self.on_progress(min(1.0, self.finished / max(self.planned, 1)), what)

    def _alternate(
        self, what: str, sides: Mapping[str, Side], repeats: int, *, keeps_deadline: bool = False
    ) -> dict[str, list[float]]:
        """Run A B A B and return the seconds of each side in complete rounds, without warm-ups.

        Args:
            what: a description of the measured quantity.
            sides: by name.
            repeats: number of timed rounds.
            keeps_deadline: whether to stop at the deadline, with fewer rounds.
        """
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        runs = [(number, name) for number in range(self.warm_ups + repeats) for name in sides]
        gc.collect()
        for index, (number, name) in enumerate(runs):
            if keeps_deadline and self.seconds_left() <= 0:
                break
            self.report(index / len(runs), what)
            taken = self._timed(sides[name])
            if number >= self.warm_ups:
                seconds[name].append(taken)
        self.finish(what)
        complete = min(map(len, seconds.values()))
        return {name: found[:complete] for name, found in seconds.items()}

    def _result(
        self, what: str, sides: Mapping[str, Side], seconds: Mapping[str, list[float]], unit: str
    ) -> Result:
        """Return the result for the seconds of `ours` and, if there is a peer, of `theirs`."""
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
        gc.disable()  # a collection during one side's run would distort the comparison
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
        """Return the least seconds of one run according to the roofline; `None` if unknown."""
        phases = side.phases()
        if self.roofline is None or not phases:
            return None
        return self.roofline.seconds(phases)


@contextlib.contextmanager
def threads(count: int | None) -> Iterator[int]:
    """Set the number of CPU threads inside the context, and restore it afterwards; `None` changes nothing."""
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
    """Return the ratio of the sides if each took its least time; `None` if one is unknown."""
    ours, theirs = least["ours"], least.get("theirs")
    if not ours or not theirs:
        return None
    return _value(sides["ours"], ours, unit) / _value(sides["theirs"], theirs, unit)
