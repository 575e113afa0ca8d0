"""How good a guess is, and how often chance would do as well. Pure: numbers in, numbers out."""

from collections.abc import Collection
from dataclasses import dataclass
from math import comb
from typing import Literal

Verdict = Literal["good", "fair", "chance"]
_GOOD, _FAIR = 0.05, 0.25


@dataclass(frozen=True)
class Scale:
    """The values that a number may be guessed from, evenly spaced.

    Attributes:
        low: no guess yet; the first value is one step above.
        high: the last value.
        step: between two values.
        form: how a value is written, as `format` takes it.
    """

    low: float
    high: float
    step: float
    form: str

    @property
    def values(self) -> list[float]:
        """Every value that can be guessed."""
        count = round((self.high - self.low) / self.step)
        return [self.low + place * self.step for place in range(1, count + 1)]

    def write(self, value: float) -> str:
        """Write a value as the lesson shows it."""
        return format(value, self.form)


@dataclass(frozen=True)
class PickScore:
    """Picked tokens against those that were asked for.

    Attributes:
        hits: picked and right.
        picked: how many were picked.
        targets: how many are right.
        candidates: how many there are to pick from.
    """

    hits: int
    picked: int
    targets: int
    candidates: int

    @property
    def expected(self) -> float:
        """Hits of blind picking, on average."""
        return self.picked * self.targets / self.candidates

    @property
    def probability(self) -> float:
        """How often blind picking has at least as many hits (hypergeometric)."""
        return sum(
            comb(self.targets, hits) * comb(self.candidates - self.targets, self.picked - hits)
            for hits in range(self.hits, min(self.picked, self.targets) + 1)
        ) / comb(self.candidates, self.picked)


@dataclass(frozen=True)
class NumberScore:
    """A guessed number against the measured one.

    Attributes:
        guess: as given.
        truth: as measured.
        scale: that the guess was taken from.
    """

    guess: float
    truth: float
    scale: Scale

    @property
    def distance(self) -> float:
        """How far off."""
        return abs(self.guess - self.truth)

    @property
    def probability(self) -> float:
        """How often a value drawn evenly from the scale is at least as close."""
        slack = 1e-9 * self.scale.step
        close = [
            value for value in self.scale.values if abs(value - self.truth) <= self.distance + slack
        ]
        return len(close) / len(self.scale.values)


def score_picks(
    picks: Collection[int], targets: Collection[int], candidates: Collection[int]
) -> PickScore:
    """Score picked positions; those that are no candidates count for nothing."""
    chosen = set(picks) & set(candidates)
    right = set(targets) & set(candidates)
    return PickScore(len(chosen & right), len(chosen), len(right), len(set(candidates)))


def verdict(probability: float) -> Verdict:
    """Say whether chance explains a score: it does as well at most once in 20, once in 4, or more often."""
    return "good" if probability <= _GOOD else "fair" if probability <= _FAIR else "chance"
