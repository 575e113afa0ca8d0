"""Scores of single numbers, against PyTorch."""

import math

import pytest
import torch

from mor_core.common.logistic import logit, sigmoid


@pytest.mark.parametrize("value", [-2000.0, -40.0, -1.5, 0.0, 1e-9, 3.0, 800.0])
def test_sigmoid(value):
    assert sigmoid(value) == pytest.approx(
        torch.tensor(value, dtype=torch.float64).sigmoid().item(), rel=1e-12
    )


@pytest.mark.parametrize("score", [1e-9, 0.25, 0.5, 0.999])
def test_logit_undoes_sigmoid(score):
    assert logit(score) == pytest.approx(
        torch.tensor(score, dtype=torch.float64).logit().item(), rel=1e-12
    )
    assert math.isclose(sigmoid(logit(score)), score, rel_tol=1e-12)
