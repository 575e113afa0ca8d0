"""Scores of guesses, and the probability that chance does as well. Pure: numbers in, numbers out."""

from collections.abc import Collection
from dataclasses import dataclass
from math import comb
from typing import Literal

Verdict = Literal["good", "fair", "chance"]
_GOOD, _FAIR = 0.05, 0.25


@dataclass(frozen=True)
class Scale:
    """Evenly spaced values for guessing a number.

    Attributes:
        low: stands for no guess; the first value is one step above.
        high: the last value.
        step: distance of two values.
        form: format specification of a value, as for `format`.
    """

    low: float
    high: float
    step: float
    form: str

    @property
    def values(self) -> list[float]:
        """All values that can be guessed."""
        count = round((self.high - self.low) / self.step)
        return [self.low + number * self.step for number in range(1, count + 1)]

    def write(self, value: float) -> str:
        """Format a value as in the lesson."""
        return format(value, self.form)


@dataclass(frozen=True)
class PickScore:
    """The score of picked tokens.

    Attributes:
        hits: number of correct picks.
        picked: number of picks.
        targets: number of correct tokens.
        candidates: number of tokens to pick from.
    """

    hits: int
    picked: int
    targets: int
    candidates: int

    @property
    def expected(self) -> float:
        """Expected hits of random picks."""
        return self.picked * self.targets / self.candidates

    @property
    def probability(self) -> float:
        """Probability that random picks have at least as many hits (hypergeometric)."""
        return sum(
            comb(self.targets, hits) * comb(self.candidates - self.targets, self.picked - hits)
            for hits in range(self.hits, min(self.picked, self.targets) + 1)
        ) / comb(self.candidates, self.picked)


@dataclass(frozen=True)
class NumberScore:
    """The score of a guessed number.

    Attributes:
        guess: the viewer's number.
        truth: the measured number.
        scale: the scale of the guess.
    """

    guess: float
    truth: float
    scale: Scale

    @property
    def distance(self) -> float:
        """Absolute error of the guess."""
        return abs(self.guess - self.truth)

    @property
    def probability(self) -> float:
        """Probability that a uniformly random value of the scale is at least as close."""
        slack = 1e-9 * self.scale.step
        close = [
            value for value in self.scale.values if abs(value - self.truth) <= self.distance + slack
        ]
        return len(close) / len(self.scale.values)


def score_picks(
    picks: Collection[int], targets: Collection[int], candidates: Collection[int]
) -> PickScore:
    """Score picked positions; positions that are not candidates are ignored."""
    chosen = set(picks) & set(candidates)
    right = set(targets) & set(candidates)
    return PickScore(len(chosen & right), len(chosen), len(right), len(set(candidates)))


def verdict(probability: float) -> Verdict:
    """Rate a score by the probability of chance: `good` up to 5%, `fair` up to 25%, else `chance`."""
    return "good" if probability <= _GOOD else "fair" if probability <= _FAIR else "chance"
