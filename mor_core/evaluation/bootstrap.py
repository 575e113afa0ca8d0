"""How far a figure would move if other documents had been drawn: percentile intervals of a bootstrap over documents.

Tokens of one document hang together, so documents are drawn and not tokens. Source: Efron and Tibshirani, An
Introduction to the Bootstrap, 1993, chapter 13.
"""

from collections.abc import Sequence

import numpy as np

REPEATS = 2000
COVERAGE = 0.95
SEED = 0


def ratio_interval(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """Return the 95% interval of sum(numerators) / sum(denominators), such as nats over tokens.

    Args:
        numerators: one a document.
        denominators: one a document.
    """
    drawn = _draws(len(numerators))
    ratios = np.asarray(numerators)[drawn].sum(1) / np.asarray(denominators)[drawn].sum(1)
    return _interval(ratios)


def difference_interval(
    ours: Sequence[float], theirs: Sequence[float], denominators: Sequence[float]
) -> list[float]:
    """Return the 95% interval of sum(ours - theirs) / sum(denominators): the same documents are drawn for both."""
    return ratio_interval(np.asarray(ours) - np.asarray(theirs), denominators)  # type: ignore[arg-type]


def _draws(num_documents: int) -> np.ndarray:
    """Draw documents with replacement, (repeats, documents); the same ones for every figure of a text."""
    return np.random.default_rng(SEED).integers(0, num_documents, (REPEATS, num_documents))


def _interval(values: np.ndarray) -> list[float]:
    outside = (1 - COVERAGE) / 2
    return [float(bound) for bound in np.quantile(values, [outside, 1 - outside])]
