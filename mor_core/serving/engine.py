"""Continuous depth-wise batching: many requests on one model, each token at its own recursion.

Because the block is shared, tokens of different requests at different recursions run through it together. One step:

    waiting -> prefill -> [embedding, prelude] -> router: goes on? -> [shared block] --+
                                 ^                   ^ |                              |
                                 |                   | +-> leaves -> [coda, head] -> next token
                                 +-------------------|--------------------------------+ (a new token)
                                                     +--------------------------------+ (one recursion deeper)

Requests join when a slot and memory are free and leave at any step. A model without a router runs its whole stack as
one stretch. Knows nothing of text, sampling or traces: a request says what the next token is. Not thread-safe: one
thread drives it.

Shapes: b tokens, S prompt tokens, E hidden size, R recursions, V vocabulary.
"""

import math
import time
from collections import deque
from typing import cast

import torch
from torch import Tensor

from mor_core.model.cache import RecursionCache
from mor_core.model.config import MoRConfig
from mor_core.model.model import MoRForCausalLM, MoROutput
from mor_core.model.routing_rules import RoutingRule
from mor_core.serving.aot_compile import DecodeKernels
from mor_core.serving.model_runner import Stretches
from mor_core.serving.request_kv_cache import KeyValueStore
from mor_core.serving.request_state import Counters, Flight, Request
from mor_core.serving.token_routing import Decider

LEAVING_SHARE = 0.75
"""Tokens that are done with the block wait for the coda until this share of all has gathered, or nobody is inside.

At 8 to 32 slots (135M shape, Xeon with AVX-512) it served 3 to 10% more tokens a second than 0.5; 1 was no better."""


class Engine:
    """Drives requests through one model.

    Not for rules that see the future, nor for models whose keys do not outlive a call: `check` says so.
    """

    def __init__(
        self,
        model: MoRForCausalLM,
        *,
        num_slots: int = 8,
        kv_budget_bytes: int | None = None,
        leaving_share: float = LEAVING_SHARE,
        kernels: DecodeKernels | None = None,
    ) -> None:
        """Prepare a model, which must not change afterwards.

        Args:
            model: any of the family, in evaluation mode.
            num_slots: requests under way at once.
            kv_budget_bytes: of memory for keys and values; requests wait while it is used up, and the youngest is
                sent back to wait if those under way outgrow it (one step may exceed it by a chunk a slot). A request
                that is alone is never sent back.
            leaving_share: see `LEAVING_SHARE`.
            kernels: of this model, for steps in which a stretch has one token.

        Raises:
            ValueError: a number is out of range.
        """
        if num_slots < 1:
            raise ValueError(f"num_slots must be at least 1, got {num_slots}")
        if kv_budget_bytes is not None and kv_budget_bytes < 1:
            raise ValueError(
                f"kv_budget_bytes must be at least 1, got {kv_budget_bytes}; leave it out for no limit"
            )
        self.model = model
        self.config: MoRConfig = model.config
        self.num_slots = num_slots
        self.kv_budget_bytes = kv_budget_bytes
        self.leaving_share = leaving_share
        self.num_steps = 0
        self._num_recursions = self.config.num_recursions
        self._stretches = Stretches(model, kernels)
        self.plan = self._stretches.plan
        self.like = model.model.embed_tokens.weight
        self._waiting: deque[Flight] = deque()
        self._entering: list[Flight] = []  # have a new token
        self._inside: list[Flight] = []  # are before a router or the block
        self._leaving: list[Flight] = []  # are done with the block
        self._under_way: list[Flight] = []  # when the step began

    def submit(self, request: Request) -> Flight:
        """Let a request wait for its turn; return its handle.

        Raises:
            ValueError: the engine cannot follow its rule.
        """
        check(self.config, request.rule)
        flight = Flight(request, Decider(self.config, request.rule), ids=list(request.ids))
        self._waiting.append(flight)
        return flight

    def cancel(self, flight: Flight) -> None:
        """Forget a request; its slot and memory are free at the next step."""
        for line in (self._waiting, self._entering, self._inside, self._leaving):
            if flight in line:
                line.remove(flight)

    @property
    def flights(self) -> list[Flight]:
        """Requests that hold a slot."""
        return [*self._entering, *self._inside, *self._leaving]

    @property
    def num_waiting(self) -> int:
        """Requests without a slot."""
        return len(self._waiting)

    @property
    def counters(self) -> Counters:
        """What was done so far."""
        return self._stretches.counters

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to do."""
        return not (self._waiting or self._entering or self._inside or self._leaving)

    @property
    def kv_bytes(self) -> int:
        """Bytes of memory that keys and values have been given."""
        return sum(store.reserved_bytes for flight in self.flights for store in flight.stores)

    @torch.inference_mode()
    def step(self) -> None:
        """Admit who fits, take new tokens up, run the block once, and let out who is done, if enough are."""
        self.num_steps += 1
        try:
            self._step()
        except RuntimeError as error:
            # Such as for want of memory: those under way have lost their place.
            for flight in self._under_way:
                flight.failure = error
                self.cancel(flight)

    def check_flight(self, flight: Flight) -> None:
        """Raise what ended a request against its will.

        Raises:
            RuntimeError: of the model call that failed.
        """
        if flight.failure is not None:
            raise flight.failure

    def _step(self) -> None:
        self._admit()
        self._under_way = self.flights
        if self._entering:
            self._enter()
        if self._inside:
            self._recur()
        gathered = len(self._leaving) >= math.ceil(self.leaving_share * len(self.flights))
        if self._leaving and (gathered or not self._inside):
            self._leave()
        if self.kv_budget_bytes is not None:
            self._keep_to_budget(self.kv_budget_bytes)

    def _enter(self) -> None:
        entering, self._entering = self._entering, []
        self._stretches.enter(entering)
        self._place(entering)

    def _recur(self) -> None:
        inside, self._inside = self._inside, []
        going = self._stretches.route(inside)
        staying = set(map(id, going))
        self._leaving += [flight for flight in inside if id(flight) not in staying]
        if going:
            self._stretches.recur(going)
            self._place(going)

    def _place(self, flights: list[Flight]) -> None:
        """Put flights before a router, or before the coda if no recursion is left."""
        for flight in flights:
            is_done = flight.recursion == self._num_recursions
            (self._leaving if is_done else self._inside).append(flight)

    def _leave(self) -> None:
        leaving, self._leaving = self._leaving, []
        logits = self._stretches.leave(leaving)
        now = time.perf_counter()
        for flight, row in zip(leaving, logits.unbind(0), strict=True):
            self.take_token(flight, flight.request.advance(flight.processed(now), row))

    def _admit(self) -> None:
        while self._waiting and len(self.flights) < self.num_slots:
            budget, flight = self.kv_budget_bytes, self._waiting[0]
            if budget is not None and self.flights and self.kv_bytes + self._need(flight) > budget:
                return
            self._waiting.popleft()
            try:
                self._prefill(flight)
            except RuntimeError as error:  # the others go on
                flight.failure = error

    def _need(self, flight: Flight) -> int:
        """Return the memory that a request will take: as planned, or what it had when it was sent back."""
        total = len(flight.request.ids) + flight.request.max_new_tokens
        planned = self.plan.expected_bytes(self.like.dtype.itemsize, total)
        return max(planned, flight.outgrown_bytes)

    def _prefill(self, flight: Flight) -> None:
        """Run all that a request has so far; it is the prompt, or more if it had to wait again."""
        started = time.perf_counter()
        request = flight.request
        ids = torch.tensor([flight.ids], device=self.model.device)
        is_first = len(flight.ids) == len(request.ids)
        keep = 0 if is_first and request.needs_prompt_logits else 1
        output: MoROutput = self.model(
            ids, use_cache=True, logits_to_keep=keep, routing=request.rule
        )
        expected = len(request.ids) + request.max_new_tokens
        self.adopt(flight, cast(RecursionCache, output.past_key_values), expected)
        if is_first:
            new = request.begin(output, time.perf_counter() - started)
        else:
            _describe_last(flight, output)
            flight.started = started
            logits = cast(Tensor, output.logits)[0, -1].float().cpu()
            new = request.advance(flight.processed(time.perf_counter()), logits)
        self.take_token(flight, new)

    def adopt(self, flight: Flight, cache: RecursionCache, num_expected: int) -> None:
        """Give a request its own copy of a cache of one row, with room for the tokens that are expected in all."""
        room = self.plan.expected_entries(num_expected)
        flight.stores = [
            KeyValueStore.of_prefill(self.config, slot, self.like, room[number])
            for number, slot in enumerate(cache.slots)
        ]

    def take_token(self, flight: Flight, token_id: int | None) -> None:
        """Take a request's next token up with the coming step; `None` ends it."""
        if token_id is None:
            flight.stores = []
            return
        flight.take_up(token_id)
        self._entering.append(flight)

    def _keep_to_budget(self, budget: int) -> None:
        while len(self.flights) > 1 and self.kv_bytes > budget:
            youngest = min(
                self.flights, key=lambda flight: len(flight.ids) - len(flight.request.ids)
            )
            self.cancel(youngest)
            youngest.outgrown_bytes = sum(store.reserved_bytes for store in youngest.stores)
            youngest.stores = []
            self._waiting.appendleft(youngest)
            self.counters.preempted += 1


def can_follow(model: MoRForCausalLM, rule: RoutingRule) -> bool:
    """Whether the engine can drive a model under a rule: it keeps what it computed, and reads plain weights."""
    plain = all(type(weight.data) is Tensor for weight in model.parameters())
    return plain and keeps_cache(model.config, rule)


def keeps_cache(config: MoRConfig, rule: RoutingRule) -> bool:
    """Whether what was computed of a sequence holds when it grows."""
    return not rule.sees_future and config.keys_outlive_a_call


def check(config: MoRConfig, rule: RoutingRule) -> None:
    """Refuse what a request that keeps its cache cannot follow.

    Raises:
        ValueError: the rule does not fit the model, sees the future, or the model's keys do not outlive a call.
    """
    rule.check(config)
    if not keeps_cache(config, rule):
        raise ValueError(
            f'the engine keeps what it computed, which routing {rule.name} with kv_strategy="{config.kv_strategy}" '
            "does not allow; recompute the whole sequence for each token instead"
        )


def _describe_last(flight: Flight, output: MoROutput) -> None:
    """Note of a flight's token what a recomputation of the whole sequence spent on it."""
    trace = output.recursion_trace
    assert trace is not None
    flight.recursion = int(trace.depth()[0, -1])
    logits = [] if trace.router is None else trace.router_logits()[0, -1].tolist()
    flight.router_logits = [logit for logit in logits if not math.isnan(logit)]
    log = output.expert_log
    flight.experts = [] if log is None else log.choices()[0, -1].tolist()
    newest = cast(RecursionCache, output.past_key_values)
    flight.held_before = [
        store.length - (flight.position in newest.positions(slot)[0, -1:].tolist())
        for slot, store in enumerate(flight.stores)
    ]
