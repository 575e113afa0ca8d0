"""The product of a few rows, against PyTorch's linear layer."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from mor_core.serving.packed_linear import PackedLinear

ROWS = (1, 2, 3, 8, 9, 17, 64, 65)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("num_rows", ROWS)
def test_it_is_a_linear_layer(num_rows, dtype):
    torch.manual_seed(0)
    rows, weight = torch.randn(num_rows, 96).to(dtype), torch.randn(40, 96).to(dtype)
    torch.testing.assert_close(
        PackedLinear(weight)(rows), F.linear(rows, weight), rtol=1e-5, atol=1e-4
    )


@pytest.mark.parametrize("num_rows", ROWS)
def test_rows_and_weights_need_not_be_contiguous(num_rows):
    rows, weight = torch.randn(96, num_rows).t(), torch.randn(96, 40).t()
    torch.testing.assert_close(
        PackedLinear(weight)(rows), F.linear(rows, weight), rtol=1e-5, atol=1e-4
    )


class _Products(TorchDispatchMode):
    """Records the names under which products and layouts are requested."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, _types, args=(), kwargs=None):
        if func.name() in ("aten::mm", "aten::linear") or func.namespace == "mkldnn":
            self.names.append(func.name())
        return func(*args, **(kwargs or {}))


def _names(weight, *row_counts):
    product = PackedLinear(weight)
    with _Products() as seen:
        for count in row_counts:
            product(torch.randn(count, 96, dtype=weight.dtype))
    return seen.names


def test_weights_are_laid_out_once_and_read_as_they_lie_by_a_few_rows():
    names = _names(nn.Parameter(torch.randn(40, 96)), 2, 17, 64)
    assert names == ["mkldnn::_reorder_linear_weight", *["mkldnn::_linear_pointwise"] * 3]


@pytest.mark.parametrize("num_rows", [1, 65])
def test_one_row_and_many_have_the_plain_product(num_rows):
    assert _names(torch.randn(40, 96), num_rows) == ["aten::mm"]


class _Odd(torch.Tensor):
    pass


@pytest.mark.parametrize(
    "weight",
    [torch.randn(40, 96).as_subclass(_Odd), torch.randn(40, 96, dtype=torch.bfloat16)],
    ids=["another kind", "bfloat16"],
)
def test_other_weights_have_the_plain_product(weight):
    assert _names(weight, 4) == ["aten::mm"]
