"""`mor bench profile`: splits a token's time into matrix products, attention, copies, recording and the rest.

Each run is timed without a profiler, then repeated under PyTorch's profiler to measure its large operations. The rest
is the first time minus these: small operations, whose time the profiler would overstate, and Python.
"""

import statistics
import time
from collections.abc import Callable, Iterator

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from mor_core.benchmarks.decode import stream_costs
from mor_core.benchmarks.harness import Bench, Side
from mor_core.benchmarks.result import Result, fact
from mor_core.benchmarks.roofline import Cost
from mor_core.benchmarks.serve import EngineSide, side_model
from mor_core.benchmarks.workloads import RANDOM_WEIGHTS
from mor_core.checkpoints.checkpoint import load_checkpoint, resolve_checkpoint
from mor_core.generation.generation import dispatch, submit
from mor_core.generation.generation_run import Run, Sampling
from mor_core.generation.timing_prompt import PROMPT
from mor_core.model.routing_rules import RoutingRule
from mor_core.serving.engine import Engine
from mor_core.traces.trace import Trace
from mor_core.traces.trace_updates import TraceBuilder

OPERATIONS = ("products", "attention", "copies")
PARTS = (*OPERATIONS, "recording", "rest")
"""The parts of a token's time, in display order."""
_PRODUCTS = {"addmm", "mm", "bmm", "mv", "linear", "_linear_pointwise"}
_COPIES = {"copy_", "cat", "index", "index_select"}
RECORDING = "mor: choosing and recording a token"


def run(bench: Bench) -> Iterator[Result]:
    """Profile one stream of the demo model, then concurrent requests of MoR and of the vanilla model."""
    bench.planned = bench.pick(3, 1)
    stream = _Stream(bench)
    yield from _parts(bench, "stream", stream.side(), lambda: stream.seconds)
    if bench.quick:
        return
    for key, is_plain in (("served", False), ("served_plain", True)):
        model = side_model("135M", 3, is_plain, bench.device, bench.dtype)
        served = EngineSide(model, requests=32, new=16, slots=16)
        name = "vanilla" if is_plain else "MoR-3"
        side = served.side(f"16 requests at once, {name} at the 135M shape")
        yield from _parts(bench, key, side, note=RANDOM_WEIGHTS)


def _parts(
    bench: Bench,
    key: str,
    side: Side,
    recording: Callable[[], float] = lambda: 0.0,
    note: str = "",
) -> Iterator[Result]:
    """Yield one result per part, in milliseconds per token; `recording` returns the recording seconds of one run."""
    whole = bench.compare(side.name, side, unit="ms")
    recorded = 1000 * recording()
    runs = [time_by_kind(bench, side) for _ in range(whole.repeats)]
    spent = {part: statistics.median(run[part] for run in runs) for part in OPERATIONS}
    spent["recording"] = recorded
    spent["rest"] = max(0.0, whole.ours - sum(spent.values()))
    share = whole.roofline_share.get("ours")
    for part in PARTS:
        yield fact(
            f"{side.name}: {part}",
            spent[part] / side.work,
            "ms",
            note=note,
            extra={
                "run": key,
                "part": part,
                "token_ms": whole.ours / side.work,
                "least_token_ms": None if share is None else share * whole.ours / side.work,
            },
        )


def time_by_kind(bench: Bench, side: Side) -> dict[str, float]:
    """Return the milliseconds of one run by kind of operation, without those spent recording tokens."""
    if side.prepare is not None:
        side.prepare()
    is_cuda = bench.device.startswith("cuda")
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if is_cuda else [])]
    with profile(activities=activities) as found:
        side.run()
    spent = dict.fromkeys(OPERATIONS, 0.0)
    for event in found.events() or []:
        kind, above = kind_of(event.name), event
        if kind is None:
            continue
        while above is not None and above.name != RECORDING:
            above = above.cpu_parent
        if above is None:
            taken = event.self_device_time_total if is_cuda else event.self_cpu_time_total
            spent[kind] += taken / 1000
    return spent


def kind_of(operation: str) -> str | None:
    """Return the kind of a large operation such as `aten::mm`; `None` for other operations."""
    name = operation.rpartition("::")[2]
    if "attention" in name:
        return "attention"
    return "products" if name in _PRODUCTS else "copies" if name in _COPIES else None


class _Stream:
    """One stream of the demo model with its trace.

    Attributes:
        seconds: time spent choosing and recording tokens in the last run.
    """

    def __init__(self, bench: Bench) -> None:
        dtype = getattr(torch, bench.dtype)
        folder = resolve_checkpoint("default")
        self._loaded = load_checkpoint(folder, device=bench.device, dtype=dtype)
        self._loaded.model.config.eos_token_id = None  # every run must have the same length
        self._new: int = bench.pick(100, 10)
        self._trace: Trace | None = None
        self.seconds = 0.0

    def side(self) -> Side:
        return Side(
            "one stream of the demo model, trace on", self._run, work=self._new, costs=self._costs
        )

    def _run(self) -> None:
        sampling = Sampling(self._new, temperature=0.0)
        run = Run(self._loaded, PROMPT, sampling, RoutingRule.causal(), lambda: False)
        engine, builder = Engine(self._loaded.model), TraceBuilder()
        submit(engine, run)
        self.seconds = 0.0
        while not engine.is_idle:
            for request in engine.step():
                started = time.perf_counter()
                with record_function(RECORDING):
                    update = dispatch(engine, request, run)
                self.seconds += time.perf_counter() - started
                builder.take(update)
        self._trace = builder.close()

    def _costs(self) -> list[Cost]:
        assert self._trace is not None
        return stream_costs(self._loaded, self._trace)
