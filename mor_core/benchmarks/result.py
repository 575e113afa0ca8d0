"""The result of a benchmark: one comparison or one number, its spread, and whether it reached its aim."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

Better = Literal["higher", "lower"]
BENCH_FOLDER = "bench"
"""Subfolder of the checkpoints' folder that holds results."""


@dataclass(frozen=True)
class Spread:
    """The spread of one side's repeats, in the result's unit."""

    min: float
    max: float
    iqr: float
    samples: list[float]


@dataclass(frozen=True)
class Result:
    """One measured comparison, or one measured number where `theirs` is `None`.

    Attributes:
        what: a description of the measured quantity, with the shape.
        peer: name of the peer.
        ours: median of our repeats.
        theirs: median of the peer's repeats.
        unit: of both.
        better: whether a higher or a lower value is better.
        ratio: ours / theirs.
        bound: the ratio if both sides ran at the roofline.
        repeats: timed runs of each side, without warm-ups.
        spread: by side.
        roofline_share: by side, the least time according to the roofline divided by the time taken.
        aim: target of the ratio, or of `ours` without a peer.
        note: conditions of this number.
        extra: further numbers, by name.
    """

    what: str
    peer: str | None
    ours: float
    theirs: float | None
    unit: str
    better: Better = "higher"
    ratio: float | None = None
    bound: float | None = None
    repeats: int = 1
    spread: dict[str, Spread] = field(default_factory=dict)
    roofline_share: dict[str, float] = field(default_factory=dict)
    aim: float | None = None
    note: str = ""
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def reached(self) -> bool | None:
        """Whether the aim is reached; `None` without one."""
        found = self.ours if self.ratio is None else self.ratio
        if self.aim is None:
            return None
        return found >= self.aim if self.better == "higher" else found <= self.aim

    def as_dict(self) -> dict[str, Any]:
        """Return the result as plain data."""
        return {**asdict(self), "reached": self.reached}


def with_ratio(result: Result) -> Result:
    """Return the result with `ratio` set, if there is a peer."""
    if result.theirs:
        return replace(result, ratio=result.ours / result.theirs)
    return result


def fact(
    what: str,
    ours: float,
    unit: str,
    *,
    peer: str | None = None,
    theirs: float | None = None,
    better: Better = "lower",
    aim: float | None = None,
    note: str = "",
    extra: dict[str, Any] | None = None,
) -> Result:
    """Return a result of single numbers that were counted, or measured elsewhere."""
    found = Result(what, peer, ours, theirs, unit, better, aim=aim, note=note, extra=extra or {})
    return with_ratio(found)


def spread(values: Sequence[float]) -> Spread:
    """Return minimum, maximum and interquartile range of some values."""
    iqr = 0.0
    if len(values) > 1:
        low, _, high = statistics.quantiles(values, n=4, method="inclusive")
        iqr = high - low
    return Spread(min(values), max(values), iqr, list(values))
