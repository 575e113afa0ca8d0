"""The logistic function and its inverse for Python floats, for code that does not import torch."""

import math


def sigmoid(logit: float) -> float:
    """Return the sigmoid of a logit; large logits of either sign do not overflow."""
    small = math.exp(-abs(logit))
    return (1.0 if logit >= 0 else small) / (1.0 + small)


def logit(score: float) -> float:
    """Return the logit of a score in (0, 1), the inverse of `sigmoid`."""
    return math.log(score / (1 - score))
