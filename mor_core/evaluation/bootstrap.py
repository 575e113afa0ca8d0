"""Percentile bootstrap intervals over documents.

Tokens within a document are correlated, so documents are resampled and not tokens. Source: Efron and Tibshirani, An
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
        numerators: one per document.
        denominators: one per document.
    """
    samples = _resampled(len(numerators))
    ratios = np.asarray(numerators)[samples].sum(1) / np.asarray(denominators)[samples].sum(1)
    return _interval(ratios)


def difference_interval(
    ours: Sequence[float], theirs: Sequence[float], denominators: Sequence[float]
) -> list[float]:
    """Return the 95% interval of sum(ours - theirs) / sum(denominators), paired: both use the same resampled documents.

    Args:
        ours: one per document.
        theirs: one per document.
        denominators: one per document.
    """
    return ratio_interval(np.asarray(ours) - np.asarray(theirs), denominators)  # type: ignore[arg-type]


def _resampled(num_documents: int) -> np.ndarray:
    """Sample document indices with replacement, (repeats, documents); the same for every figure of a text."""
    return np.random.default_rng(SEED).integers(0, num_documents, (REPEATS, num_documents))


def _interval(values: np.ndarray) -> list[float]:
    outside = (1 - COVERAGE) / 2
    return [float(bound) for bound in np.quantile(values, [outside, 1 - outside])]
