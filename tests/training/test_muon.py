"""Muon against PyTorch's own, which multiplies in bf16."""

import pytest
import torch

from mor_core.training.muon import Muon, orthogonalise


@pytest.mark.parametrize("shape", [(24, 24), (16, 40), (40, 16)])
def test_steps_equal_pytorchs(shape):
    torch.manual_seed(0)
    start = torch.randn(shape)
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    one = Muon([ours], 0.01, 0.1, torch.bfloat16)
    two = torch.optim.Muon([theirs], lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for _ in range(4):
        gradient = torch.randn(shape)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        one.step()
        two.step()
    moved = (theirs - start).abs().mean()
    assert (ours - theirs).abs().max() < 0.05 * moved  # bf16 keeps three digits


def test_float32_differs_from_bf16_by_rounding_only():
    torch.manual_seed(0)
    matrix = torch.randn(32, 48)
    exact = orthogonalise(matrix[None], torch.float32)[0]
    rounded = orthogonalise(matrix[None], torch.bfloat16)[0]
    assert (exact - rounded).abs().max() < 0.05
    assert not torch.equal(exact, rounded)


@pytest.mark.parametrize("shape", [(32, 48), (48, 32)])
def test_singular_values_come_near_one_and_directions_stay(shape):
    torch.manual_seed(0)
    matrix = torch.randn(shape) @ torch.diag(torch.linspace(0.5, 5, shape[1]))
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    within = left.T @ orthogonalise(matrix[None], torch.float32)[0] @ right.T
    values = within.diagonal()
    assert values.min() > 0.6
    assert values.max() < 1.3
    assert (within - values.diag()).abs().max() < 1e-3


def test_matrices_of_one_shape_step_as_each_would_alone():
    torch.manual_seed(0)
    shapes = [(6, 4), (4, 6), (6, 4), (5, 5)]
    starts = [torch.randn(shape) for shape in shapes]
    together, alone = ([torch.nn.Parameter(start.clone()) for start in starts] for _ in range(2))
    optimisers = [Muon(together, 0.1, 0.1, torch.float32)]
    optimisers += [Muon([weight], 0.1, 0.1, torch.float32) for weight in alone]
    for _ in range(3):
        for one, other in zip(together, alone, strict=True):
            one.grad = torch.randn(one.shape)
            other.grad = one.grad.clone()
        for optimiser in optimisers:
            optimiser.step()
    for one, other, start in zip(together, alone, starts, strict=True):
        torch.testing.assert_close(one, other)
        assert not torch.equal(one, start)


def test_no_gradient_no_step_and_a_zero_gradient_is_no_nan():
    weight, idle = torch.nn.Parameter(torch.ones(4, 6)), torch.nn.Parameter(torch.ones(4, 6))
    weight.grad = torch.zeros(4, 6)
    Muon([weight, idle], 0.1, 0.0, torch.float32).step()
    assert torch.equal(weight, torch.ones(4, 6))
    assert torch.equal(idle, torch.ones(4, 6))
