"""The product of a few rows, against PyTorch's linear layer."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from mor_core.products import product

ROWS = (1, 2, 3, 8, 9, 17, 64, 65)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("num_rows", ROWS)
def test_it_is_a_linear_layer(num_rows, dtype):
    torch.manual_seed(0)
    rows, weight = torch.randn(num_rows, 96).to(dtype), torch.randn(40, 96).to(dtype)
    torch.testing.assert_close(product(rows, weight), F.linear(rows, weight), rtol=1e-5, atol=1e-4)


def test_rows_need_not_be_contiguous():
    rows, weight = torch.randn(96, 5).t(), nn.Parameter(torch.randn(40, 96))
    torch.testing.assert_close(product(rows, weight), F.linear(rows, weight), rtol=1e-5, atol=1e-4)


class _Products(TorchDispatchMode):
    """Notes the shapes of the factors of every matrix product."""

    def __init__(self):
        super().__init__()
        self.factors = []

    def __torch_dispatch__(self, func, _types, args=(), kwargs=None):
        if func is torch.ops.aten.mm.default:
            self.factors.append([tuple(factor.shape) for factor in args])
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("num_rows", "num_columns"),
    [(2, 2), (3, 4), (6, 6), (7, 8), (9, 16), (15, 16), (17, 17), (21, 24), (64, 64)],
)
def test_a_few_rows_stand_on_the_right_filled_up(num_rows, num_columns):
    with _Products() as seen:
        product(torch.randn(num_rows, 96), torch.randn(40, 96))
    assert seen.factors == [[(40, 96), (96, num_columns)]]


@pytest.mark.parametrize("num_rows", [1, 65])
def test_one_row_and_many_stand_on_the_left(num_rows):
    with _Products() as seen:
        product(torch.randn(num_rows, 96), torch.randn(40, 96))
    assert seen.factors == [[(num_rows, 96), (96, 40)]]


def test_a_weight_of_another_kind_keeps_its_own_product():
    class Odd(torch.Tensor):
        pass

    odd = torch.randn(40, 96).as_subclass(Odd)
    with _Products() as seen:
        product(torch.randn(4, 96), odd)
    assert seen.factors == [[(4, 96), (96, 40)]]
