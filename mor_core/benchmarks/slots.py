"""The part of `mor bench growth` that varies slots: tokens/s and KV bytes as more requests share one engine."""

from collections.abc import Iterator

import torch

from mor_core.benchmarks.harness import Bench, Side
from mor_core.benchmarks.requests import Batch, PlainRequest
from mor_core.benchmarks.result import Result
from mor_core.benchmarks.workloads import (
    RANDOM_WEIGHTS,
    peer_config,
    random_model,
    random_rule,
    random_tokens,
)
from mor_core.model.config import MoRConfig
from mor_core.model.model import MoRForCausalLM
from mor_core.model.routing_rules import default_rule
from mor_core.serving.engine import Engine

SLOTS = (1, 2, 4, 8, 16, 32, 64, 128)
_PROMPT, _NEW_TOKENS, _REPEATS = 32, 24, 3


def run(bench: Bench, config: MoRConfig) -> Iterator[Result]:
    """Decode with a growing number of concurrent requests, all prefilled before the timing starts."""
    models = [random_model(c, bench.device, bench.dtype) for c in (config, peer_config(config))]
    for slots in bench.pick(SLOTS, SLOTS[:2]):
        if bench.seconds_left() <= 0:
            return
        ours, theirs = (_Slots(model, slots) for model in models)
        yield bench.compare(
            f"decode with {slots} slots in use, MoR-3 at the demo model's shape",
            ours.side("MoR on the engine"),
            theirs.side("vanilla on the engine, same width and unrolled depth"),
            unit="tokens/s",
            repeats=min(bench.repeats, _REPEATS),
            note=f"{RANDOM_WEIGHTS}; {_PROMPT} tokens of prompt, prefilled before",
            extra=lambda ours=ours, theirs=theirs, slots=slots: {  # type: ignore[misc]
                "slots": slots,
                "our_kv_bytes": ours.num_bytes,
                "their_kv_bytes": theirs.num_bytes,
            },
        )


class _Slots:
    """An engine with every slot in use."""

    def __init__(self, model: MoRForCausalLM, slots: int) -> None:
        self.model, self.slots = model, slots
        self.prompts: list[list[int]] = random_tokens(model.config, slots, _PROMPT).tolist()
        self.batch = Batch(Engine(model), [], slots)
        self.num_bytes = 0

    def side(self, name: str) -> Side:
        """Return the side to time; its work is the number of tokens left to decode after the prefills."""
        side = Side(name, self._drive, prepare=lambda: setattr(side, "work", self._fill()))
        return side

    @torch.inference_mode()
    def _fill(self) -> int:
        """Prefill every request, and return how many tokens are left to decode."""
        config = self.model.config
        requests = [
            PlainRequest(
                ids, random_rule(config, seed) or default_rule(config, training=False), _NEW_TOKENS
            )
            for seed, ids in enumerate(self.prompts)
        ]
        self.batch = Batch(Engine(self.model), requests, self.slots)
        while not all(request.num_taken for request in requests):
            self.batch.step()
        stores = [store for request in self.batch.engine.requests for store in request.stores]
        self.num_bytes = sum(store.used_bytes for store in stores)
        return sum(request.max_new_tokens - request.num_taken for request in requests)

    @torch.inference_mode()
    def _drive(self) -> None:
        self.batch.run()
