"""Scores and logits of single numbers, for code that has no tensors at hand."""

import math


def sigmoid(logit: float) -> float:
    """Return the score of a logit of any size."""
    small = math.exp(-abs(logit))
    return (1.0 if logit >= 0 else small) / (1.0 + small)


def logit(score: float) -> float:
    """Undo `sigmoid`: return the logit of a score inside (0, 1)."""
    return math.log(score / (1 - score))
