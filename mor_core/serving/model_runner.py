"""The stages that requests run through: prelude, router, shared block, coda and head.

Each stage takes one token each of several requests; the block takes tokens at different recursions together. The
engine schedules the stages.

Shapes: b tokens, E hidden size, R recursions, V vocabulary.
"""

import math
import time
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from mor_core.model.accounting import kv_bytes_per_entry
from mor_core.model.config import MoRConfig
from mor_core.model.expert_choice import ExpertChoiceRouter
from mor_core.model.layer_schedule import LayerCall
from mor_core.model.model import MoRForCausalLM
from mor_core.model.token_choice import TokenChoiceRouter
from mor_core.serving.aot_compile import CompiledModules, has_router_head
from mor_core.serving.batched_decoder import BatchedDecoder, to_device
from mor_core.serving.packed_linear import PackedLinear
from mor_core.serving.request_kv_cache import CHUNK
from mor_core.serving.request_state import Counters, RequestState


class ModelRunner:
    """Runs the stages of one model. Stores no requests."""

    def __init__(self, model: MoRForCausalLM, compiled: CompiledModules | None = None) -> None:
        config: MoRConfig = model.config
        self.counters = Counters()
        self.plan = StagePlan(config, model.model.schedule)
        self._layers = BatchedDecoder(model.model, compiled)
        self._compiled = compiled
        self._routers = list(model.model.routers)
        self._embed, self._norm = model.model.embed_tokens, model.model.norm
        self._head = PackedLinear(model.lm_head.weight)
        self._device, self._dtype = self._embed.weight.device, self._embed.weight.dtype
        # Read once: each attribute of a Hugging Face config takes microseconds.
        self._num_recursions = config.num_recursions
        self._has_router = config.has_router
        self._chooses_once = config.router.chooses_once
        self._is_weighted = config.router_gating == "weighted"
        self._gates_every_step = config.router_gated_steps == "every"
        self._has_random_gates = config.router_control == "random_scores"
        self._has_own_parts = bool(config.recursion_specific)
        self._router_matrices: list[list[Tensor]] = []  # for the compiled module
        if compiled is not None and has_router_head(config):
            self._router_matrices = [cast(ExpertChoiceRouter, r).matrices() for r in self._routers]

    def enter(self, requests: list[RequestState]) -> None:
        """Run embedding and prelude on each request's newest token; without a router, the whole stack but the coda."""
        now = time.perf_counter()
        states = self._embedded([request.ids[-1] for request in requests])
        states = self._run([self.plan.entry] * len(requests), requests, states)
        _count(self.counters.prelude, requests)
        for request, state in zip(requests, _rows(states), strict=True):
            request.hidden_state = state
            request.started = now
            request.recursion = 0 if self._has_router else self._num_recursions

    def _embedded(self, ids: list[int]) -> Tensor:
        """Return the embeddings of some tokens, (b, E)."""
        if len(ids) == 1:  # a slice needs no tensor of ids
            return self._embed.weight.detach()[ids[0] : ids[0] + 1]
        return self._embed(to_device(ids, self._device))  # type: ignore[no-any-return]

    def route(self, requests: list[RequestState]) -> list[RequestState]:
        """Score each token by its next router; return the requests whose token enters a further recursion."""
        if self._chooses_once:
            self._choose_depths([request for request in requests if request.recursion == 0])
            return [request for request in requests if request.recursion < request.depth]
        if len(requests) == 1 and self._router_matrices:
            return self._route_compiled(requests[0])
        continuing, gates, deciding_logits = [], [], []
        requests = sorted(requests, key=lambda request: request.recursion)
        for index, router in enumerate(cast(list[ExpertChoiceRouter], self._routers)):
            group = [request for request in requests if request.recursion == index]
            if not group:
                continue
            states = _stacked([request.hidden_state for request in group])
            logits = router(states)  # (b,)
            gates.append(self._gates(router, logits, group, index))
            has_aux = router.aux_network is not None
            deciding_logits.append(router.aux_logits(states) if has_aux else logits)
        numbers = _stacked(deciding_logits).tolist()  # the only synchronisation before the head
        for request, gate, logit in zip(requests, _rows(_stacked(gates)), numbers, strict=True):
            request.router_logits.append(logit)
            request.gate = gate
            if request.routing.enters(request.recursion, request.position, logit):
                continuing.append(request)
        return continuing

    def _route_compiled(self, request: RequestState) -> list[RequestState]:
        """Do the same as `route` for one token, with a compiled module."""
        assert self._compiled is not None
        assert request.hidden_state is not None
        index = request.recursion
        logit, gate = self._compiled.router_head(request.hidden_state, self._router_matrices[index])
        if request.rule.gate == "open":
            gate = cast(ExpertChoiceRouter, self._routers[index]).gate(gate, "open")
        request.router_logits.append(logit)
        request.gate = gate
        return [request] if request.routing.enters(index, request.position, logit) else []

    def _gates(
        self, router: ExpertChoiceRouter, logits: Tensor, group: list[RequestState], index: int
    ) -> Tensor:
        """Return the gates of the block's output, (b, 1), by each request's own rule."""
        kinds = {request.rule.gate for request in group}
        gates = router.gate(logits, kinds.pop() if len(kinds) == 1 else "learned")
        if kinds:
            is_open = [request.rule.gate == "open" for request in group]
            opened = torch.tensor(is_open).to(logits.device)
            gates = torch.where(opened, router.gate(logits, "open"), gates)
        if self._has_random_gates:
            scores = [request.routing.random_scores[index][request.position] for request in group]
            gates = router.alpha * torch.tensor(scores, dtype=gates.dtype, device=gates.device)
        return gates[:, None].to(self._dtype)

    def _choose_depths(self, requests: list[RequestState]) -> None:
        """Choose the depth of token-choice tokens, once per token."""
        if not requests:
            return
        router = cast(TokenChoiceRouter, self._routers[0])
        states = _stacked([request.hidden_state for request in requests])
        logits = router(states)  # (b, R)
        learned = router.gate(logits, "learned").to(states.dtype).split(1)
        opened = router.gate(logits, "open").to(states.dtype).split(1)
        scored = torch.cat((logits, router.chosen_depths(logits)[:, None].to(logits.dtype)), dim=1)
        for row, (request, numbers) in enumerate(zip(requests, scored.tolist(), strict=True)):
            request.router_logits = numbers[:-1]
            request.depth = request.routing.depth(request.position, int(numbers[-1]))
            request.gate = (opened if request.rule.gate == "open" else learned)[row]
            request.first_state = request.hidden_state

    def recur(self, requests: list[RequestState]) -> None:
        """Run the shared block once on all requests, each with the cache of its own recursion."""
        if not self._has_own_parts:
            self._recur_together(requests)
            return
        # Recursions have different weights, so they run one after the other.
        groups: dict[int, list[RequestState]] = {}
        for request in requests:
            groups.setdefault(request.recursion, []).append(request)
        for group in groups.values():
            self._recur_together(group)

    def _recur_together(self, requests: list[RequestState]) -> None:
        states = _stacked([request.hidden_state for request in requests])
        calls = [self.plan.block[request.recursion] for request in requests]
        output = self._run(calls, requests, states)
        _count(self.counters.block, requests)
        if not self._chooses_once:
            if self._is_weighted:
                output = _stacked([request.gate for request in requests]) * output
            output = states + output
        for request, state in zip(requests, _rows(output), strict=True):
            request.recursion += 1
            request.hidden_state = state
            if self._chooses_once:
                request.hidden_state = self._token_choice_state(request, state)

    def _token_choice_state(self, request: RequestState, output: Tensor) -> Tensor:
        """Return the state of a token-choice token after one more recursion; (1, E)."""
        assert request.gate is not None
        assert request.first_state is not None
        scaled = output
        if self._is_weighted:
            scaled = request.gate[:, request.recursion - 1, None] * output
        if request.recursion == request.depth:
            return request.first_state + scaled
        return scaled if self._gates_every_step else output

    def leave(self, requests: list[RequestState]) -> Tensor:
        """Run coda and head; return logits (b, V), float32, on the host."""
        states = _stacked([request.hidden_state for request in requests])
        states = self._run([self.plan.exit] * len(requests), requests, states)
        _count(self.counters.coda, requests)
        if self._compiled is not None and len(requests) == 1:
            return self._compiled.lm_head(states, self._norm.weight.detach(), self._head.weight)
        logits = self._head(self._norm(states))
        return logits.float().cpu()

    def _run(
        self, calls: Sequence[Sequence[LayerCall]], requests: list[RequestState], states: Tensor
    ) -> Tensor:
        if not calls[0]:
            return states
        output = self._layers.run(calls, requests, states)
        self.counters.entries_read += sum(
            request.stores[call.cache_slot].length
            for request, own in zip(requests, calls, strict=True)
            for call in own
        )
        return output


class StagePlan:
    """The layer calls of each stage, and the cache memory that a request needs."""

    def __init__(self, config: MoRConfig, schedule: Sequence[LayerCall]) -> None:
        self.config = config
        self.entry = [call for call in schedule if call.stage == "prelude"]
        self.exit = [call for call in schedule if call.stage == "coda"]
        shared = [call for call in schedule if call.stage == "shared"]
        self.block: list[list[LayerCall]] = []
        if config.has_router:
            self.block = [
                [call for call in shared if call.recursion_idx == index]
                for index in range(config.num_recursions)
            ]
        else:
            self.entry += shared  # every token takes all recursions in one stage
        self._shares: dict[int, float] = {}
        for call in schedule:
            routed = config.has_router and call.recursion_idx is not None
            share = config.capacity_schedule[call.recursion_idx or 0] if routed else 1.0
            self._shares.setdefault(call.cache_slot, share)

    def expected_entries(self, num_tokens: int) -> list[int]:
        """Return how many entries each cache slot is expected to hold for `num_tokens`, by the trained shares."""
        return [math.ceil(self._shares[slot] * num_tokens) for slot in sorted(self._shares)]

    def expected_bytes(self, itemsize: int, num_tokens: int) -> int:
        """Return the memory of these entries in bytes, in whole chunks; `itemsize` is bytes per number."""
        chunks = sum(-(-entries // CHUNK) for entries in self.expected_entries(num_tokens))
        return chunks * CHUNK * kv_bytes_per_entry(self.config, itemsize)


def _stacked(states: Sequence[Tensor | None]) -> Tensor:
    """Concatenate along the first axis; a single item, the usual case, needs no copy."""
    rows = cast(list[Tensor], states)
    return rows[0] if len(rows) == 1 else torch.cat(rows)


def _rows(states: Tensor) -> Sequence[Tensor]:
    """Split states into rows; the inverse of `_stacked`."""
    return [states] if states.shape[0] == 1 else states.split(1)


def _count(counter: list[int], requests: list[RequestState]) -> None:
    counter[0] += 1
    counter[1] += len(requests)
