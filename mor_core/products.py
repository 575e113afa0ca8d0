"""The product of a few rows with a weight matrix, as decode makes it for each layer.

Shapes: b rows, E inputs, N outputs.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_MOST_ROWS = 64  # above, both orders take the same time
_HAS_MKL = torch.backends.mkl.is_available()


def product(rows: Tensor, weight: Tensor) -> Tensor:
    """Do what `F.linear` does without a bias; rows (b, E), weight (N, E) -> (b, N), perhaps not contiguous.

    Up to 64 float32 rows on a CPU come as the right factor: MKL then reads the weights once and in order, and takes a
    third to nine tenths of the time for 2 to 32 of them (AMD EPYC with AVX2, PyTorch 2.13).
    """
    count = rows.shape[0]
    is_plain = type(weight) in (Tensor, nn.Parameter)  # not quantised
    is_for_mkl = _HAS_MKL and rows.is_cpu and rows.dtype == torch.float32 and is_plain
    if not is_for_mkl or not 1 < count <= _MOST_ROWS:
        return F.linear(rows, weight)
    missing = _padded(count) - count
    filled = F.pad(rows, (0, 0, 0, missing)) if missing else rows
    # From contiguous rows, their transpose is what MKL is fast with.
    return torch.mm(weight, filled.contiguous().t())[:, :count].t()


def _padded(count: int) -> int:
    """Return how many columns take no longer than `count` of them: MKL has code for four at once, and for 16."""
    if 8 < count < 16:
        return 16
    is_slow = count % 4 == 3 or count > 20
    return -(-count // 4) * 4 if is_slow else count
