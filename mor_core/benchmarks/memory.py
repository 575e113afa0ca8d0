"""`mor bench memory`: compares the bytes of the KV cache's tensors with the formula; both must be equal."""

import itertools
import math
from collections.abc import Iterator

import torch

from mor_core.benchmarks.harness import Bench
from mor_core.benchmarks.result import Result, fact
from mor_core.benchmarks.workloads import (
    RANDOM_WEIGHTS,
    peer_config,
    random_model,
    random_rule,
    random_tokens,
    shape,
)
from mor_core.model.accounting import kv_bytes, vanilla_kv_bytes
from mor_core.model.cache import RecursionCache
from mor_core.model.config import MoRConfig
from mor_core.model.model import MoRForCausalLM

_PROMPT, _DECODED = 200, 4


def run(bench: Bench) -> Iterator[Result]:
    """Prefill, decode a few tokens, and compare the cache's tensors with the formula."""
    cases = _cases(bench.quick)
    bench.planned = len(cases)
    for name, config in cases.items():
        bench.report(0.0, name)
        measured, counted = cache_bytes(config, bench.device, bench.dtype)
        plain = vanilla_kv_bytes(config, _PROMPT + _DECODED, getattr(torch, bench.dtype).itemsize)
        yield fact(
            f"KV cache of {_PROMPT + _DECODED} tokens, {name}",
            measured,
            "bytes",
            peer="the formula",
            theirs=counted,
            aim=1.0,
            note=RANDOM_WEIGHTS,
            extra={
                "equal": measured == counted,
                "vanilla_bytes": plain,
                "of_vanilla": measured / plain,
            },
        )
        bench.finish(name)


def cache_bytes(config: MoRConfig, device: str = "cpu", dtype: str = "float32") -> tuple[int, int]:
    """Return the bytes of the cache's tensors after a prefill and a few decoded tokens, and those by the formula."""
    model = random_model(config, device, dtype)
    cache = RecursionCache(config)
    ids = random_tokens(config, 1, _PROMPT + _DECODED, device)
    counts = [0] * config.num_recursions
    ends = [0, *range(_PROMPT, _PROMPT + _DECODED + 1)]
    for start, end in itertools.pairwise(ends):
        found = _read(model, ids[:, start:end], cache)
        counts = [old + new for old, new in zip(counts, found, strict=True)]
    tensors = [held for slot in cache.slots for held in (slot.keys, slot.values)]
    measured = sum(
        math.prod(tensor.shape) * tensor.element_size() for tensor in tensors if tensor is not None
    )
    return measured, kv_bytes(config, ids.shape[1], counts, model.dtype.itemsize)


@torch.no_grad()
def _read(model: MoRForCausalLM, ids: torch.Tensor, cache: RecursionCache) -> list[int]:
    rule = random_rule(model.config)
    output = model(ids, past_key_values=cache, logits_to_keep=1, routing=rule)
    assert output.recursion_trace is not None
    return output.recursion_trace.active_counts()[0]


def _cases(quick: bool) -> dict[str, MoRConfig]:
    mor3 = shape("135M", 3)
    cases = {
        "135M, vanilla": peer_config(mor3),
        "135M, MoR-3": mor3,
        "135M, MoR-3, shared keys": mor3.replaced(kv_strategy="shared"),
    }
    if quick:
        return {name: _shallow(config) for name, config in cases.items()}
    return cases | {
        "135M, MoR-2": shape("135M", 2),
        "135M, MoR-4": shape("135M", 4),
        "360M, vanilla": shape("360M", 1),
        "360M, MoR-3": shape("360M", 3),
        "360M, MoR-3, shared keys": shape("360M", 3).replaced(kv_strategy="shared"),
    }


def _shallow(config: MoRConfig) -> MoRConfig:
    """Return the same widths with two layers a recursion and a small vocabulary."""
    return config.replaced(num_layers_per_recursion=2, vocab_size=4096)
