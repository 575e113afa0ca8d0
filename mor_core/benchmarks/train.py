"""`mor bench train`: tokens/s of a training step, against the vanilla model of the same width and unrolled depth."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace

from mor_core.benchmarks.harness import Bench, Side
from mor_core.benchmarks.result import Result
from mor_core.benchmarks.roofline import Cost
from mor_core.benchmarks.workloads import (
    DEMO,
    peer_config,
    random_model,
    random_tokens,
    shape,
    step_side,
)
from mor_core.model.accounting import parameter_count, training_flops
from mor_core.model.config import MoRConfig
from mor_core.model.decoder import DecoderLayer
from mor_core.training.recipe import OptimiserSection

_CONTEXT, _AIM, _PEAK_AIM = 512, 1.25, 0.55
_ROWS, _GPU_ROWS = (8, 1), (64, 32)  # by shape, enough to saturate the device
_TOUCHES = 10  # memory accesses per weight in a step: forward, backward, gradient, AdamW's four reads and three writes


@dataclass(frozen=True)
class _Case:
    name: str
    config: MoRConfig
    rows: int
    compiled: bool = False


def run(bench: Bench) -> Iterator[Result]:
    """Take whole steps: forward, backward, clipping and AdamW."""
    rows = _GPU_ROWS if bench.device.startswith("cuda") else _ROWS
    cases = [_Case("the demo model's shape", DEMO, bench.pick(rows[0], 1))]
    if not bench.quick:
        if shutil.which("g++") or shutil.which("clang++") or bench.device != "cpu":
            cases.append(replace(cases[0], name="the demo model's shape, compiled", compiled=True))
        cases.append(_Case("the 135M shape", shape("135M", 3, context=_CONTEXT), rows[1]))
    bench.planned = len(cases)
    for case in cases:
        if bench.seconds_left() > 0:
            yield _measure(bench, case)


def _measure(bench: Bench, case: _Case) -> Result:
    flops = _step_flops(case)
    result = bench.compare(
        f"training step of {case.rows} x {_CONTEXT} tokens, MoR-3 at {case.name}",
        _side(bench, case, "MoR, gathered path"),
        _side(
            bench,
            replace(case, config=peer_config(case.config)),
            "vanilla, same width and unrolled depth",
        ),
        unit="tokens/s",
        aim=_AIM,
        note="random weights; the top-k selection of training, at the capacity schedule; AdamW, gradients clipped",
    )
    if bench.roofline is None:
        return result
    share = result.ours / (case.rows * _CONTEXT) * flops / bench.roofline.flops_per_s
    facts = {"matrix_peak_share": share, "matrix_peak_share_aim": _PEAK_AIM}
    return replace(result, extra=result.extra | facts)


def _step_flops(case: _Case) -> int:
    """Return the FLOPs of a step, counted as in the training log: attention among k active tokens costs k x k."""
    counts = [max(1, int(share * _CONTEXT)) for share in case.config.capacity_schedule]
    return case.rows * training_flops(case.config, _CONTEXT, counts)


def _side(bench: Bench, case: _Case, name: str) -> Side:
    model = random_model(case.config, bench.device, bench.dtype).train()
    if case.compiled:
        for module in model.modules():
            if isinstance(module, DecoderLayer):
                module.compile(dynamic=False)
    ids = random_tokens(case.config, case.rows, _CONTEXT, bench.device)
    moved = _TOUCHES * parameter_count(case.config) * model.dtype.itemsize
    costs = [Cost(_step_flops(case), moved)]
    return step_side(name, model, ids, OptimiserSection(), costs=costs)
