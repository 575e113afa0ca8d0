"""The roofline model: measures this machine's peak FLOP/s and memory bandwidth, and bounds a run's time by them.

Source: Williams, Waterman and Patterson, "Roofline", 2009.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

SQUARES = (512, 1024, 2048)
GPU_SQUARES = (2048, 4096, 8192)  # smaller matrices do not saturate a GPU
SKINNY_ROWS = (1, 4, 16, 32, 128)
_SKINNY = (576, 1536)  # the 135M shape's feed-forward
_WEIGHT_SIDE = 1024
_WEIGHT_BYTES = 2**28  # far more than any cache holds
_REPEATS = 5


@dataclass(frozen=True)
class Cost:
    """The least cost of one phase of a run: floating-point operations, and bytes read and written."""

    flops: float
    num_bytes: float


@dataclass(frozen=True)
class Roofline:
    """Measured limits of one device in one dtype.

    Attributes:
        flops_per_s: of the fastest large matrix product.
        bytes_per_s: of reading weights or of copying, whichever is faster.
        measured: the rate of every measured product and transfer, by name.
    """

    flops_per_s: float
    bytes_per_s: float
    measured: dict[str, float] = field(default_factory=dict)

    def seconds(self, costs: Iterable[Cost]) -> float:
        """Return the least seconds for phases that run one after another."""
        return sum(
            max(cost.flops / self.flops_per_s, cost.num_bytes / self.bytes_per_s) for cost in costs
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the limits as plain data."""
        return asdict(self)


def measure_roofline(
    device: str = "cpu",
    dtype: str = "float32",
    *,
    quick: bool = False,
    clock: Callable[[], float] = time.perf_counter,
) -> Roofline:
    """Measure matrix products of several shapes and memory traffic; takes seconds.

    `quick` uses smaller matrices and less memory, and may therefore underestimate the limits.
    """
    import torch

    place, kind = torch.device(device), getattr(torch, dtype)

    def best(work: Callable[[], object]) -> float:
        found = []
        for repeat in range(_REPEATS + 1):
            _wait(place.type)
            started = clock()
            work()
            _wait(place.type)
            if repeat:  # the first warms up
                found.append(clock() - started)
        return max(min(found), 1e-9)

    measured: dict[str, float] = {}
    with torch.no_grad():
        for side in (GPU_SQUARES if place.type == "cuda" else SQUARES)[: 2 if quick else None]:
            left, right = (torch.randn(side, side, device=place, dtype=kind) for _ in range(2))
            out = torch.empty_like(left)
            seconds = best(lambda a=left, b=right, c=out: torch.mm(a, b, out=c))  # type: ignore[misc]
            measured[f"{side} x {side} x {side} FLOP/s"] = 2 * side**3 / seconds
        for rows in SKINNY_ROWS:
            left = torch.ones(rows, _SKINNY[0], device=place, dtype=kind)
            weights = [torch.ones(*_SKINNY, device=place, dtype=kind) for _ in range(24)]
            seconds = best(lambda a=left, ws=weights: [a @ w for w in ws])  # type: ignore[misc]
            name = f"{rows} x {_SKINNY[0]} x {_SKINNY[1]} FLOP/s"
            measured[name] = 2 * rows * _SKINNY[0] * _SKINNY[1] * len(weights) / seconds
        for name, rate in _traffic(best, place, kind, quick).items():
            measured[name] = rate
    peak = max(rate for name, rate in measured.items() if name.endswith("FLOP/s"))
    traffic = max(rate for name, rate in measured.items() if name.endswith("B/s"))
    return Roofline(peak, traffic, measured)


def _traffic(
    best: Callable[[Callable[[], object]], float], place: Any, kind: Any, quick: bool
) -> dict[str, float]:
    """Return the bytes per second of matrix-vector products, which read weights, and of a copy."""
    import torch

    total = _WEIGHT_BYTES // (4 if quick else 1)
    count = total // (_WEIGHT_SIDE**2 * kind.itemsize)
    weights = torch.ones(count, _WEIGHT_SIDE, _WEIGHT_SIDE, device=place, dtype=kind)
    row = torch.ones(_WEIGHT_SIDE, device=place, dtype=kind)
    target = torch.empty_like(weights)
    return {
        "reading weights, B/s": weights.nbytes / best(lambda: [w @ row for w in weights]),
        "copying, B/s": 2 * weights.nbytes / best(lambda: target.copy_(weights)),
    }


def _wait(kind: str) -> None:
    if kind == "cuda":
        import torch

        torch.cuda.synchronize()
