"""`mor bench prefill`: time to prefill 1,024 tokens, against the vanilla model of the same unrolled depth."""

from collections.abc import Iterator

import torch

from mor_core.benchmarks.harness import Bench, Side
from mor_core.benchmarks.result import Result
from mor_core.benchmarks.workloads import (
    RANDOM_WEIGHTS,
    peer_config,
    prefill_costs,
    random_model,
    random_rule,
    random_tokens,
    shape,
)
from mor_core.model.cache import RecursionCache
from mor_core.model.config import MoRConfig
from mor_core.model.model import MoROutput

_LENGTH, _QUICK_LENGTH = 1024, 128
_AIM = 0.75


def run(bench: Bench) -> Iterator[Result]:
    """Prefill MoR-3 and its vanilla peer, with recursion-wise and with shared keys."""
    length = bench.pick(_LENGTH, _QUICK_LENGTH)
    mor = shape("135M", 3)
    cases = {"MoR-3": mor, "MoR-3, shared keys": mor.replaced(kv_strategy="shared")}
    bench.planned = len(cases)
    theirs, _ = _side(bench, peer_config(mor), length)
    for name, config in cases.items():
        ours, counts = _side(bench, config, length)
        yield bench.compare(
            f"prefill of {length:,} tokens, {name} at the 135M shape",
            ours,
            theirs,
            unit="ms",
            aim=_AIM if config is mor else None,
            note=f"{RANDOM_WEIGHTS}; the head at the last position alone, as generation asks for it",
            extra=lambda counts=counts: {"active_counts": counts},  # type: ignore[misc]
        )


def _side(bench: Bench, config: MoRConfig, length: int) -> tuple[Side, list[int]]:
    """Return a model's prefill as a side, and how many tokens take each recursion."""
    model = random_model(config, bench.device, bench.dtype)
    ids, rule = random_tokens(config, 1, length, bench.device), random_rule(config)

    @torch.inference_mode()
    def prefill() -> MoROutput:
        cache = RecursionCache(config)
        return model(ids, past_key_values=cache, logits_to_keep=1, routing=rule)

    trace = prefill().recursion_trace
    assert trace is not None
    counts = trace.active_counts()[0]
    costs = prefill_costs(config, length, counts, 1, model.dtype.itemsize)
    name = "MoR, gathered path" if config.has_router else "vanilla, same width and unrolled depth"
    return Side(name, prefill, costs=costs), counts
