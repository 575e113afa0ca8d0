"""What a benchmark found: one comparison or one number, how sure it is, and whether it reached its aim."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

Better = Literal["higher", "lower"]
BENCH_FOLDER = "bench"
"""Of the checkpoints' folder: where results are kept."""


@dataclass(frozen=True)
class Spread:
    """How far the repeats of one side lie apart, in the result's unit."""

    min: float
    max: float
    iqr: float
    samples: list[float]


@dataclass(frozen=True)
class Result:
    """One measured comparison, or one measured number where `theirs` is `None`.

    Attributes:
        what: was measured, with the shape.
        peer: what `theirs` is.
        ours: median of our repeats.
        theirs: median of the peer's.
        unit: of both.
        better: whether more or less of the unit is better.
        ratio: ours / theirs.
        bound: the same ratio if both ran at the roofline.
        repeats: of each side, warm-ups left out.
        spread: of each side.
        roofline_share: of each side: the least time the machine needs over the time taken.
        aim: what the ratio, or ours if there is no peer, is to reach.
        note: conditions that belong to this number alone.
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
    """Return the result with ours / theirs filled in."""
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
    """Return a result of numbers that were counted, or measured elsewhere, once."""
    found = Result(what, peer, ours, theirs, unit, better, aim=aim, note=note, extra=extra or {})
    return with_ratio(found)


def spread(values: Sequence[float]) -> Spread:
    """Return the extremes of some values and the distance of their quartiles."""
    iqr = 0.0
    if len(values) > 1:
        low, _, high = statistics.quantiles(values, n=4, method="inclusive")
        iqr = high - low
    return Spread(min(values), max(values), iqr, list(values))
