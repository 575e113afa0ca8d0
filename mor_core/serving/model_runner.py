"""The stretches of the stack that requests run through: prelude, router, shared block, coda and head.

Each takes some flights, one token each, wherever they stand; the block takes tokens at different recursions together.
When which stretch runs is the engine's business.

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
from mor_core.serving.aot_compile import DecodeKernels, judges_alone
from mor_core.serving.batched_decoder import DecodeLayers, sent
from mor_core.serving.packed_linear import Product
from mor_core.serving.request_kv_cache import CHUNK
from mor_core.serving.request_state import Counters, Flight


class Stretches:
    """Runs stretches of one model. Holds no flight."""

    def __init__(self, model: MoRForCausalLM, kernels: DecodeKernels | None = None) -> None:
        config: MoRConfig = model.config
        self.counters = Counters()
        self.plan = Plan(config, model.model.schedule)
        self._layers = DecodeLayers(model.model, kernels)
        self._kernels = kernels
        self._routers = list(model.model.routers)
        self._embed, self._norm = model.model.embed_tokens, model.model.norm
        self._head = Product(model.lm_head.weight)
        self._device, self._dtype = self._embed.weight.device, self._embed.weight.dtype
        # Read once: a Hugging Face config takes microseconds an attribute.
        self._num_recursions = config.num_recursions
        self._has_router = config.has_router
        self._chooses_once = config.router.chooses_once
        self._is_weighted = config.router_gating == "weighted"
        self._gates_every_step = config.router_gated_steps == "every"
        self._draws_gates = config.router_control == "random_scores"
        self._has_own_parts = bool(config.recursion_specific)
        self._router_matrices: list[list[Tensor]] = []  # for the compiled part, if it judges
        if kernels is not None and judges_alone(config):
            self._router_matrices = [cast(ExpertChoiceRouter, r).matrices() for r in self._routers]

    def enter(self, flights: list[Flight]) -> None:
        """Run embedding and prelude on each one's newest token; without a router, the whole stack but the coda."""
        now = time.perf_counter()
        states = self._embedded([flight.ids[-1] for flight in flights])
        states = self._run([self.plan.entry] * len(flights), flights, states)
        _count(self.counters.prelude, flights)
        for flight, state in zip(flights, _apart(states), strict=True):
            flight.state = state
            flight.started = now
            flight.recursion = 0 if self._has_router else self._num_recursions

    def _embedded(self, ids: list[int]) -> Tensor:
        """Return the embeddings of some tokens, (b, E)."""
        if len(ids) == 1:  # which needs no tensor of ids
            return self._embed.weight.detach()[ids[0] : ids[0] + 1]
        return self._embed(sent(ids, self._device))  # type: ignore[no-any-return]

    def route(self, flights: list[Flight]) -> list[Flight]:
        """Ask each token's next router; return those that go on."""
        if self._chooses_once:
            self._choose_depths([flight for flight in flights if flight.recursion == 0])
            return [flight for flight in flights if flight.recursion < flight.depth]
        if len(flights) == 1 and self._router_matrices:
            return self._route_alone(flights[0])
        going, gates, decisive = [], [], []
        flights = sorted(flights, key=lambda flight: flight.recursion)
        for index, router in enumerate(cast(list[ExpertChoiceRouter], self._routers)):
            group = [flight for flight in flights if flight.recursion == index]
            if not group:
                continue
            states = _joined([flight.state for flight in group])
            logits = router(states)  # (b,)
            gates.append(self._gates(router, logits, group, index))
            decisive.append(logits if router.aux_network is None else router.aux_logits(states))
        told = _joined(decisive).tolist()  # the step's one question to the device before the head
        for flight, gate, logit in zip(flights, _apart(_joined(gates)), told, strict=True):
            flight.router_logits.append(logit)
            flight.gate = gate
            if flight.decider.enters(flight.recursion, flight.position, logit):
                going.append(flight)
        return going

    def _route_alone(self, flight: Flight) -> list[Flight]:
        """Do as `route` does for one token by a compiled part."""
        assert self._kernels is not None
        assert flight.state is not None
        index = flight.recursion
        logit, gate = self._kernels.judge(flight.state, self._router_matrices[index])
        if flight.request.rule.gate == "open":
            gate = cast(ExpertChoiceRouter, self._routers[index]).gate(gate, "open")
        flight.router_logits.append(logit)
        flight.gate = gate
        return [flight] if flight.decider.enters(index, flight.position, logit) else []

    def _gates(
        self, router: ExpertChoiceRouter, logits: Tensor, group: list[Flight], index: int
    ) -> Tensor:
        """Return what scales the block's output, (b, 1), by each request's own rule."""
        kinds = {flight.request.rule.gate for flight in group}
        gates = router.gate(logits, kinds.pop() if len(kinds) == 1 else "learned")
        if kinds:
            opened = torch.tensor([f.request.rule.gate == "open" for f in group]).to(logits.device)
            gates = torch.where(opened, router.gate(logits, "open"), gates)
        if self._draws_gates:
            drawn = [flight.decider.draws[index][flight.position] for flight in group]
            gates = router.alpha * torch.tensor(drawn, dtype=gates.dtype, device=gates.device)
        return gates[:, None].to(self._dtype)

    def _choose_depths(self, flights: list[Flight]) -> None:
        """Let token-choice tokens decide, once, how deep they go."""
        if not flights:
            return
        router = cast(TokenChoiceRouter, self._routers[0])
        states = _joined([flight.state for flight in flights])
        logits = router(states)  # (b, R)
        learned = router.gate(logits, "learned").to(states.dtype).split(1)
        opened = router.gate(logits, "open").to(states.dtype).split(1)
        told = torch.cat((logits, router.chosen_depths(logits)[:, None].to(logits.dtype)), dim=1)
        for row, (flight, numbers) in enumerate(zip(flights, told.tolist(), strict=True)):
            flight.router_logits = numbers[:-1]
            flight.depth = flight.decider.depth(flight.position, int(numbers[-1]))
            flight.gate = (opened if flight.request.rule.gate == "open" else learned)[row]
            flight.first_state = flight.state

    def recur(self, flights: list[Flight]) -> None:
        """Run the shared block once on all of them, each with its own recursion's cache."""
        if not self._has_own_parts:
            self._recur_together(flights)
            return
        groups: dict[int, list[Flight]] = {}  # weights differ, so recursions go one after the other
        for flight in flights:
            groups.setdefault(flight.recursion, []).append(flight)
        for group in groups.values():
            self._recur_together(group)

    def _recur_together(self, flights: list[Flight]) -> None:
        states = _joined([flight.state for flight in flights])
        calls = [self.plan.block[flight.recursion] for flight in flights]
        output = self._run(calls, flights, states)
        _count(self.counters.block, flights)
        if not self._chooses_once:
            if self._is_weighted:
                output = _joined([flight.gate for flight in flights]) * output
            output = states + output
        for flight, state in zip(flights, _apart(output), strict=True):
            flight.recursion += 1
            flight.state = state
            if self._chooses_once:
                flight.state = self._token_choice_state(flight, state)

    def _token_choice_state(self, flight: Flight, output: Tensor) -> Tensor:
        """Return the state of a token-choice token after one more recursion; (1, E)."""
        assert flight.gate is not None
        assert flight.first_state is not None
        scaled = output
        if self._is_weighted:
            scaled = flight.gate[:, flight.recursion - 1, None] * output
        if flight.recursion == flight.depth:
            return flight.first_state + scaled
        return scaled if self._gates_every_step else output

    def leave(self, flights: list[Flight]) -> Tensor:
        """Run coda and head; return logits (b, V), float32, on the host."""
        states = _joined([flight.state for flight in flights])
        states = self._run([self.plan.exit] * len(flights), flights, states)
        _count(self.counters.coda, flights)
        if self._kernels is not None and len(flights) == 1:
            return self._kernels.read_out(states, self._norm.weight.detach(), self._head.weight)
        logits = self._head(self._norm(states))
        return logits.float().cpu()

    def _run(
        self, calls: Sequence[Sequence[LayerCall]], flights: list[Flight], states: Tensor
    ) -> Tensor:
        if not calls[0]:
            return states
        output = self._layers.run(calls, flights, states)
        self.counters.entries_read += sum(
            flight.stores[call.cache_slot].length
            for flight, own in zip(flights, calls, strict=True)
            for call in own
        )
        return output


class Plan:
    """Which layer calls make each stretch, and how much room a request needs."""

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
            self.entry += shared  # every token takes all of it, in one go
        self._shares: dict[int, float] = {}
        for call in schedule:
            routed = config.has_router and call.recursion_idx is not None
            share = config.capacity_schedule[call.recursion_idx or 0] if routed else 1.0
            self._shares.setdefault(call.cache_slot, share)

    def expected_entries(self, num_tokens: int) -> list[int]:
        """Return how many entries each slot should get for so many tokens, by the trained shares."""
        return [math.ceil(self._shares[slot] * num_tokens) for slot in sorted(self._shares)]

    def expected_bytes(self, itemsize: int, num_tokens: int) -> int:
        """Return the memory that these entries take, in whole chunks, at so many bytes a number."""
        chunks = sum(-(-entries // CHUNK) for entries in self.expected_entries(num_tokens))
        return chunks * CHUNK * kv_bytes_per_entry(self.config, itemsize)


def _joined(states: Sequence[Tensor | None]) -> Tensor:
    """Stack rows of one; most often there is a single request, which needs no copy."""
    rows = cast(list[Tensor], states)
    return rows[0] if len(rows) == 1 else torch.cat(rows)


def _apart(states: Tensor) -> Sequence[Tensor]:
    """Undo `_joined`."""
    return [states] if states.shape[0] == 1 else states.split(1)


def _count(counter: list[int], flights: list[Flight]) -> None:
    counter[0] += 1
    counter[1] += len(flights)
