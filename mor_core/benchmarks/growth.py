"""`mor bench growth`: tokens/s and KV bytes as context and slots grow, against the vanilla model.

It measures speed only; the quality of text beyond the trained context is not evaluated.
"""

from collections.abc import Iterator

import torch

from mor_core.benchmarks import slots as slots_benchmark
from mor_core.benchmarks.harness import Bench, Side
from mor_core.benchmarks.result import Result
from mor_core.benchmarks.workloads import (
    DEMO,
    RANDOM_WEIGHTS,
    decode_costs,
    peer_config,
    random_model,
    random_rule,
    random_tokens,
    shape,
)
from mor_core.model.accounting import kv_bytes
from mor_core.model.cache import RecursionCache
from mor_core.model.config import MoRConfig
from mor_core.model.layer_schedule import layer_schedule
from mor_core.model.model import MoRForCausalLM

CONTEXTS = (128, 256, 512, 1024, 2048, 4096)
_NEW_TOKENS = 8
NOTE = (
    f"{RANDOM_WEIGHTS}; caches filled, not read; quality beyond the trained context is not claimed"
)


def run(bench: Bench) -> Iterator[Result]:
    """Decode with caches of growing length, then with a growing number of concurrent requests."""
    contexts = bench.pick(CONTEXTS, CONTEXTS[:2])
    mor = shape("135M", 3, context=CONTEXTS[-1] + _NEW_TOKENS)
    models = [random_model(config, bench.device, bench.dtype) for config in (mor, peer_config(mor))]
    bench.planned = len(contexts) + len(
        bench.pick(slots_benchmark.SLOTS, slots_benchmark.SLOTS[:2])
    )
    for context in contexts:
        if bench.seconds_left() <= 0:
            break
        ours, theirs = (FilledDecode(model, context) for model in models)
        yield bench.compare(
            f"decode at a context of {context:,} tokens, MoR-3 at the 135M shape",
            ours.side("MoR, gathered path"),
            theirs.side("vanilla, same width and unrolled depth"),
            unit="tokens/s",
            note=NOTE,
            extra=lambda ours=ours, theirs=theirs, context=context: {  # type: ignore[misc]
                "context": context,
                "our_kv_bytes": ours.num_bytes,
                "their_kv_bytes": theirs.num_bytes,
            },
        )
    yield from slots_benchmark.run(bench, DEMO)


class FilledDecode:
    """Decodes a few tokens of one sequence with a cache filled with random keys and values."""

    def __init__(self, model: MoRForCausalLM, context: int) -> None:
        self.model, self.context = model, context
        self.config: MoRConfig = model.config
        self.rule = random_rule(self.config)
        self.ids = random_tokens(self.config, 1, _NEW_TOKENS, str(model.device))
        self.counts = [max(1, int(share * context)) for share in self.config.capacity_schedule]
        self.itemsize: int = model.dtype.itemsize
        self.cache = RecursionCache(self.config)
        self.num_bytes = kv_bytes(self.config, context, self.counts, self.itemsize)
        self._filled = {
            call.cache_slot: self._entries(call.recursion_idx)
            for call in layer_schedule(self.config)
        }

    def side(self, name: str) -> Side:
        """Return the side to time; every run starts from the same cache."""
        costs = [
            cost
            for _ in range(_NEW_TOKENS)
            for cost in decode_costs(self.config, self.context, self.counts, 1, self.itemsize)
        ]
        return Side(name, self._decode, prepare=self._fill, work=_NEW_TOKENS, costs=costs)

    def _entries(self, recursion_idx: int | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the keys (also used as values) and the positions of one slot."""
        routed = recursion_idx is not None and self.config.has_router
        count = self.counts[recursion_idx or 0] if routed else self.context
        shape_of = (1, self.config.num_key_value_heads, count, self.config.attention_head_dim)
        keys = torch.randn(shape_of, device=self.ids.device, dtype=self.model.dtype)
        return keys, torch.arange(count, device=self.ids.device)[None]

    def _fill(self) -> None:
        self.cache = RecursionCache(self.config)
        self.cache.num_seen_tokens = self.context
        for slot, (keys, positions) in self._filled.items():
            held = self.cache.slots[slot]
            held.keys, held.values, held.positions = keys, keys, positions

    @torch.inference_mode()
    def _decode(self) -> None:
        for place in range(_NEW_TOKENS):
            self.model(
                self.ids[:, place : place + 1], past_key_values=self.cache, routing=self.rule
            )
