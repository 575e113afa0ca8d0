"""Loss terms against hand arithmetic and PyTorch's own functions."""

import math

import pytest
import torch
import torch.nn.functional as F

from mor_core.model.losses import (
    IGNORED,
    auxiliary_loss,
    balancing_loss,
    depth_price,
    linear_cross_entropy,
    router_z_loss,
)


@pytest.mark.parametrize("count", [7, 1024, 2500])
def test_linear_cross_entropy_equals_torch_in_value_and_gradients(count):
    torch.manual_seed(0)
    hidden = torch.randn(count, 16, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(50, 16, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(0, 50, (count,))
    targets[::5] = IGNORED
    expected = F.cross_entropy(hidden @ weight.t(), targets)
    wanted = torch.autograd.grad(3 * expected, (hidden, weight))
    loss = linear_cross_entropy(hidden, weight, targets)
    found = torch.autograd.grad(3 * loss, (hidden, weight))
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-6, check_dtype=False)
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-7, rtol=1e-5)


def test_positions_without_a_target_get_no_gradient():
    hidden = torch.randn(3, 4, requires_grad=True)
    loss = linear_cross_entropy(hidden, torch.randn(5, 4), torch.tensor([1, IGNORED, 2]))
    loss.backward()
    assert hidden.grad is not None
    assert hidden.grad[1].abs().max() == 0
    assert hidden.grad[0].abs().max() > 0


def test_auxiliary_loss_by_hand():
    logits = torch.tensor([[0.0, math.log(3), 50.0]])
    selected = torch.tensor([[True, False, True]])
    by_hand = (math.log(2) + math.log(4) + 0.0) / 3
    assert auxiliary_loss(logits, selected, None).item() == pytest.approx(by_hand)


def test_depth_price_is_the_mean_score_of_the_candidates_that_count():
    logits = torch.tensor([[0.0, math.log(3), 50.0]])
    assert depth_price(logits, None).item() == pytest.approx((0.5 + 0.75 + 1.0) / 3)
    valid = torch.tensor([[True, True, False]])
    assert depth_price(logits, valid).item() == pytest.approx(0.625)


def test_router_losses_leave_entries_out_that_are_no_candidates():
    logits = torch.tensor([[2.0, 100.0]])
    valid = torch.tensor([[True, False]])
    assert router_z_loss(logits[..., None], valid).item() == 4.0
    selected = torch.tensor([[True, False]])
    assert auxiliary_loss(logits, selected, valid).item() == pytest.approx(math.log1p(math.exp(-2)))


def test_z_loss_of_zero_logits_is_zero():
    assert router_z_loss(torch.zeros(2, 3, 1), None).item() == 0.0
    assert router_z_loss(torch.zeros(2, 3, 4), None).item() == pytest.approx(math.log(4) ** 2)


def test_balancing_loss_by_hand():
    weights = torch.tensor([[[0.7, 0.3], [0.6, 0.4], [0.2, 0.8], [9.0, 9.0]]])
    choices = torch.tensor([[1, 1, 2, 1]])
    valid = torch.tensor([[True, True, True, False]])
    by_hand = 2 * (0.5 * 2 / 3 + 0.5 * 1 / 3)
    assert balancing_loss(weights, choices, valid).item() == pytest.approx(by_hand)


def test_balancing_loss_of_even_loads_is_one():
    weights = torch.full((1, 6, 3), 1 / 3)
    assert balancing_loss(weights, torch.tensor([[1, 2, 3] * 2]), None).item() == pytest.approx(1)
