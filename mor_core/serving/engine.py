"""Continuous depth-wise batching: many requests on one model, each token at its own recursion.

Because the block is shared, tokens of different requests at different recursions run through it together. One step:

    submit -> prefill -> [embedding, prelude] -> router: goes on? -> [shared block] --+
                 |               ^                  ^ |                               |
                 |               |                  | +-> leaves -> [coda, head] -+   |
                 |           take_token             +-----------------------------|---+ (one recursion deeper)
                 +-> result -----+------------------------------------------------+

Requests join and leave at any step. `step` returns those whose tokens are through; whoever drives the engine chooses
their next tokens (`take_token`) or ends them (`end`). A model without a router runs its whole stack as one stage.
Knows nothing of text, sampling or traces. Not thread-safe: one thread drives it.

Shapes: b tokens, E hidden size, R recursions, V vocabulary.
"""

import math
import time
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor

from mor_core.model.cache import RecursionCache
from mor_core.model.config import MoRConfig
from mor_core.model.model import MoRForCausalLM, MoROutput
from mor_core.model.routing_rules import RoutingRule
from mor_core.serving.aot_compile import CompiledModules
from mor_core.serving.model_runner import ModelRunner
from mor_core.serving.processed import processed_by_call
from mor_core.serving.request_kv_cache import KeyValueStore
from mor_core.serving.request_state import Counters, RequestState
from mor_core.serving.token_routing import TokenRouting

LEAVING_SHARE = 0.75
"""Tokens that are done with the block wait for the coda until this share of all has gathered, or none is inside.

At 8 to 32 requests (135M shape, Xeon with AVX-512) it served 3 to 10% more tokens a second than 0.5; 1 was no better.
"""


class Engine:
    """Drives requests through one model.

    Not for rules that see the future, nor for models whose keys do not outlive a call: `check` says so.
    """

    def __init__(
        self,
        model: MoRForCausalLM,
        *,
        leaving_share: float = LEAVING_SHARE,
        compiled: CompiledModules | None = None,
    ) -> None:
        """Prepare a model, which must not change afterwards.

        Args:
            model: any of the family, in evaluation mode.
            leaving_share: see `LEAVING_SHARE`.
            compiled: modules of this model, for steps in which a stage has one token.
        """
        self.model = model
        self.config: MoRConfig = model.config
        self.leaving_share = leaving_share
        self._num_recursions = self.config.num_recursions
        self._runner = ModelRunner(model, compiled)
        self.plan = self._runner.plan
        self.like = model.model.embed_tokens.weight
        self._new: list[RequestState] = []  # have not been prefilled
        self._entering: list[RequestState] = []  # have a new token
        self._inside: list[RequestState] = []  # are before a router or the block
        self._leaving: list[RequestState] = []  # are done with the block
        self._through: list[RequestState] = []  # have a result in this step

    def submit(
        self,
        ids: Sequence[int],
        rule: RoutingRule,
        max_new_tokens: int,
        *,
        wants_prompt_logits: bool = False,
        stores: list[KeyValueStore] | None = None,
    ) -> RequestState:
        """Let a request join at the next step; return its handle.

        Args:
            ids: of the prompt.
            rule: its routing rule.
            max_new_tokens: the most that it will ask for; more is possible, but moves its cache.
            wants_prompt_logits: whether the prefill returns the logits of all prompt tokens or only of the last.
            stores: keys and values of all tokens but the last, one a cache slot, which take the place of the prefill.

        Raises:
            ValueError: the engine cannot follow the rule.
        """
        check(self.config, rule)
        routing = TokenRouting(self.config, rule)
        request = RequestState(list(ids), rule, routing, max_new_tokens, wants_prompt_logits)
        if stores is None:
            self._new.append(request)
        else:
            request.stores = stores
            self.take_token(request, request.ids.pop())
        return request

    def take_token(self, request: RequestState, token_id: int) -> None:
        """Take a request's next token up with the coming step."""
        request.take_up(token_id)
        self._entering.append(request)

    def end(self, request: RequestState) -> None:
        """Forget a request and free its memory."""
        for line in (self._new, self._entering, self._inside, self._leaving):
            if request in line:
                line.remove(request)
        request.stores = []

    @property
    def requests(self) -> list[RequestState]:
        """Requests with work to do."""
        return [*self._new, *self._entering, *self._inside, *self._leaving]

    @property
    def counters(self) -> Counters:
        """What was done so far."""
        return self._runner.counters

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self.requests

    @torch.inference_mode()
    def step(self) -> list[RequestState]:
        """Prefill who is new, take new tokens up, run the block once, and let out who is done, if enough are.

        Returns:
            The requests that have a `result`, which raises where a model call failed. Each waits for `take_token` or
            `end`.
        """
        self._through = []
        new, self._new = self._new, []
        for request in new:
            self._call(self._prefill, [request])
        entering, self._entering = self._entering, []
        self._call(self._enter, entering)
        inside, self._inside = self._inside, []
        self._call(self._recur, inside)
        num_decoding = len(self._inside) + len(self._leaving)
        gathered = len(self._leaving) >= math.ceil(self.leaving_share * num_decoding)
        if gathered or not self._inside:
            leaving, self._leaving = self._leaving, []
            self._call(self._leave, leaving)
        return self._through

    def _call(
        self, stage: Callable[[list[RequestState]], None], requests: list[RequestState]
    ) -> None:
        """Run a stage on requests: the one place where a failed model call is caught, which ends those it was for."""
        if not requests:
            return
        try:
            stage(requests)
        except Exception as error:  # such as for want of memory; the others go on
            for request in requests:
                self.end(request)
                request.failure = error
            self._through += requests

    def _prefill(self, requests: list[RequestState]) -> None:
        """Run a request's whole prompt."""
        (request,) = requests
        started = time.perf_counter()
        ids = torch.tensor([request.ids], device=self.model.device)
        keep = 0 if request.wants_prompt_logits else 1
        output: MoROutput = self.model(
            ids, use_cache=True, logits_to_keep=keep, routing=request.rule
        )
        room = self.plan.expected_entries(len(request.ids) + request.max_new_tokens)
        cache = cast(RecursionCache, output.past_key_values)
        request.stores = [
            KeyValueStore.of_prefill(self.config, slot, self.like, room[number])
            for number, slot in enumerate(cache.slots)
        ]
        request.processed = processed_by_call(output, self.config, time.perf_counter() - started)
        self._through.append(request)

    def _enter(self, requests: list[RequestState]) -> None:
        self._runner.enter(requests)
        self._place(requests)

    def _recur(self, requests: list[RequestState]) -> None:
        going = self._runner.route(requests)
        if going:
            self._runner.recur(going)
        staying = set(map(id, going))
        self._leaving += [request for request in requests if id(request) not in staying]
        self._place(going)

    def _place(self, requests: list[RequestState]) -> None:
        """Put requests before a router, or before the coda if no recursion is left."""
        for request in requests:
            is_done = request.recursion == self._num_recursions
            (self._leaving if is_done else self._inside).append(request)

    def _leave(self, requests: list[RequestState]) -> None:
        logits = self._runner.leave(requests)
        now = time.perf_counter()
        for request, row in zip(requests, logits.split(1), strict=True):
            request.leave(row, now)
        self._through += requests


def can_follow(model: MoRForCausalLM, rule: RoutingRule) -> bool:
    """Whether the engine can drive a model under a rule: it keeps what it computed, and reads plain weights."""
    plain = all(type(weight.data) is Tensor for weight in model.parameters())
    return plain and keeps_cache(model.config, rule)


def keeps_cache(config: MoRConfig, rule: RoutingRule) -> bool:
    """Whether what was computed of a sequence holds when it grows."""
    return not rule.sees_future and config.can_reuse_cache


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
