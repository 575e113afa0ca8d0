"""`mor bench serve`: continuous batching of MoR and of the vanilla model, with equal slots and with equal memory.

Both sides run on the same engine. Requests start with filled caches, so that decoding is measured without prefill. The
time includes copying each cache into its slot and updating it.
"""

import functools
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from mor_core.benchmarks.harness import Bench, Side
from mor_core.benchmarks.requests import Batch, PlainRequest, Request
from mor_core.benchmarks.result import Result
from mor_core.benchmarks.roofline import Cost
from mor_core.benchmarks.workloads import (
    RANDOM_WEIGHTS,
    layer_parameters,
    peer_config,
    random_model,
    random_rule,
    shape,
)
from mor_core.evaluation.paper_results import THROUGHPUT
from mor_core.model.accounting import kv_bytes_per_entry, layer_flops
from mor_core.model.config import MoRConfig
from mor_core.model.layer_schedule import layer_schedule
from mor_core.model.model import MoRForCausalLM
from mor_core.model.paper import PaperName
from mor_core.model.routing_rules import RoutingRule
from mor_core.serving.engine import Engine
from mor_core.serving.model_runner import StagePlan
from mor_core.serving.request_kv_cache import CHUNK, KeyValueStore
from mor_core.serving.request_state import RequestState

_REQUESTS, _NEW, _HELD = 64, 32, 256
_SLOTS = {"135M": (64, 32, 16, 8, 4), "360M": (32, 16, 8, 4)}
_EQUAL_MEMORY_SLOTS = 16  # of the vanilla model
_AIM = 0.85  # of the bound


@dataclass(frozen=True)
class _Case:
    name: PaperName
    recursions: int
    slots: int
    equal_memory: bool

    @property
    def is_short(self) -> bool:
        """Whether the case is short enough to measure twice within the time for the whole grid."""
        return self.name == "135M" and self.slots >= 16


def run(bench: Bench) -> Iterator[Result]:
    """Measure the cases of the grid, the most informative first, until the time is up."""
    cases = list(_cases(bench.quick))
    bench.planned = len(cases)
    bench.warm_ups = bench.pick(0, 1)  # a full run is hundreds of equal steps
    for case in cases:
        if bench.seconds_left() > 0:
            yield _measure(bench, case)


def _cases(quick: bool) -> Iterator[_Case]:
    if quick:
        yield _Case("135M", 3, 4, equal_memory=False)
        return
    names: tuple[PaperName, ...] = ("135M", "360M")
    for recursions, name in itertools.product((3, 2, 4), names):
        for slots in _SLOTS[name]:
            yield _Case(name, recursions, slots, equal_memory=False)
        yield _Case(name, recursions, _EQUAL_MEMORY_SLOTS, equal_memory=True)


def _measure(bench: Bench, case: _Case) -> Result:
    config = shape(case.name, case.recursions, context=_HELD + _NEW + 1)
    plain = peer_config(config)
    requests, new = bench.pick((_REQUESTS, _NEW), (8, 4))
    itemsize = getattr(torch, bench.dtype).itemsize
    slots = {"ours": case.slots, "theirs": case.slots}
    how = f"{case.slots} slots"
    if case.equal_memory:
        budget = case.slots * request_bytes(plain, itemsize)
        slots["ours"] = min(requests, budget // request_bytes(config, itemsize))
        how = f"equal KV memory ({budget / 2**20:.0f} MiB: {slots['ours']} slots against {case.slots})"
    ours, theirs = (
        EngineSide(
            side_model(case.name, case.recursions, side == "theirs", bench.device, bench.dtype),
            requests,
            new,
            slots[side],
        )
        for side in ("ours", "theirs")
    )
    result = bench.compare(
        f"serve {requests} requests of {new} new tokens, MoR-{case.recursions} at the {case.name} shape, {how}",
        ours.side(f"MoR-{case.recursions}"),
        theirs.side("vanilla, same unrolled depth, continuously batched"),
        unit="tokens/s",
        repeats=min(bench.repeats, bench.pick(2 if case.is_short else 1, 1)),
        note=f"{RANDOM_WEIGHTS}; caches of {_HELD} tokens filled beforehand; greedy",
    )
    return _with_facts(result, case, slots)


def _with_facts(result: Result, case: _Case, slots: dict[str, int]) -> Result:
    """Add the case, the share of the bound that was reached, the paper's ratio, and whether the result counts.

    A result counts if the vanilla side runs at 0.9 of our roofline share or more: a slow peer would flatter the ratio.
    """
    fixed_batch, equal_memory = THROUGHPUT[case.recursions]
    published = equal_memory if case.equal_memory else fixed_batch
    facts: dict[str, object] = {
        "shape": case.name,
        "num_recursions": case.recursions,
        "equal_memory": case.equal_memory,
        "our_slots": slots["ours"],
        "their_slots": slots["theirs"],
        "paper_ratio": published,
        "aim_of_bound": _AIM,
    }
    if result.bound and result.ratio:
        facts["of_bound"] = result.ratio / result.bound
        facts["bound_reaches_paper"] = result.bound >= published
    shares = result.roofline_share
    if {"ours", "theirs"} <= shares.keys():
        facts["counts"] = shares["theirs"] >= 0.9 * shares["ours"]
    aim = None if result.bound is None else _AIM * result.bound
    return replace(result, aim=aim, extra=result.extra | facts)


def request_bytes(config: MoRConfig, itemsize: int) -> int:
    """Return the memory that the engine plans for one request of this benchmark."""
    return StagePlan(config, layer_schedule(config)).expected_bytes(itemsize, _HELD + _NEW)


@functools.lru_cache(maxsize=2)
def side_model(
    name: PaperName, recursions: int, plain: bool, device: str, dtype: str
) -> MoRForCausalLM:
    """Return a side's model, cached for the next cases of the same shape."""
    config = shape(name, recursions, context=_HELD + _NEW + 1)
    return random_model(peer_config(config) if plain else config, device, dtype)


class EngineSide:
    """One side of the comparison: an engine and its requests."""

    def __init__(self, model: MoRForCausalLM, requests: int, new: int, slots: int) -> None:
        config = self._config = model.config
        self._model = model
        self._num_requests, self._new, self._slots = requests, new, slots
        heads, width = config.num_key_value_heads, config.attention_head_dim
        torch.manual_seed(1)
        most = -(-(_HELD + _NEW) // CHUNK) * CHUNK
        self._engine = Engine(model)
        self._fillings = [
            torch.randn(most, 2 * heads, width).to(self._engine.like) for _ in range(2)
        ]
        self._batch = self._requests(
            2, 2
        )  # a first run packs the weights for products of several rows
        self._run()

    def side(self, name: str) -> Side:
        return Side(
            name,
            self._run,
            prepare=self._prepare,
            work=self._num_requests * self._new,
            costs=self._costs,
        )

    def _prepare(self) -> None:
        self._batch = self._requests(self._num_requests, self._new)
        self._engine.counters.reset()

    def _requests(self, requests: int, new: int) -> Batch:
        rules = (
            random_rule(self._config, seed) or RoutingRule.causal() for seed in range(requests)
        )
        wanted = [PlainRequest([1] * (_HELD + 1), rule, new) for rule in rules]
        return Batch(self._engine, wanted, self._slots, self._filled)

    def _filled(self, engine: Engine, request: Request) -> RequestState:
        """Submit a request with a full cache, so that no prompt is read."""
        stores = []
        for slot, capacity in enumerate(engine.plan.expected_entries(_HELD + _NEW)):
            store = KeyValueStore(self._config, engine.like, capacity)
            store.length = min(math.ceil(capacity * _HELD / (_HELD + _NEW)), len(store.memory) - 1)
            store.memory[: store.length] = self._fillings[slot % 2][: store.length]
            stores.append(store)
        return engine.submit(request.ids, request.rule, request.max_new_tokens, stores=stores)

    @torch.inference_mode()
    def _run(self) -> None:
        self._batch.run()

    def _costs(self) -> list[Cost]:
        """Return the least cost of the last run, stage by stage, from what the engine counted."""
        config, counters = self._config, self._engine.counters
        itemsize = self._model.dtype.itemsize
        token, weights = layer_flops(config, 1, 0), layer_parameters(config) * itemsize
        layers = {
            "prelude": config.num_prelude_layers,
            "block": config.num_layers_per_recursion,
            "coda": config.num_coda_layers,
        }
        if not config.has_router:
            layers["prelude"] += config.num_recursions * layers.pop("block")
        per_entry = layer_flops(config, 1, 1) - token
        head = config.vocab_size * config.hidden_size
        costs = [
            Cost(
                counters.entries_read * per_entry,
                counters.entries_read * kv_bytes_per_entry(config, itemsize),
            ),
            Cost(2 * head * counters.coda[1], head * itemsize * counters.coda[0]),
        ]
        for name, count in layers.items():
            runs, tokens = getattr(counters, name)
            costs.append(Cost(count * token * tokens, count * weights * runs))
        return costs
