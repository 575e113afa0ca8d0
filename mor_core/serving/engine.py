"""Continuous depth-wise batching: many requests on one model, each token at its own recursion.

Because the block is shared, it can process tokens of different requests at different recursions together. One step:

    submit -> prefill -> [embedding, prelude] -> router: goes on? -> [shared block] --+
                 |               ^                  ^ |                               |
                 |               |                  | +-> leaves -> [coda, head] -+   |
                 |           take_token             +-----------------------------|---+ (one recursion deeper)
                 +-> result -----+------------------------------------------------+

Requests join and leave at any step. `step` returns the requests whose token is finished; the caller chooses their next
tokens (`take_token`) or ends them (`end`). A model without a router runs its whole stack as one stage. The engine has
no text, sampling or traces. It is not thread-safe: one thread must call it.

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
"""Tokens that finished the block wait for the coda until they are this share of all tokens, or no others are left.

At 8 to 32 requests (135M shape, Xeon with AVX-512) it served 3 to 10% more tokens a second than 0.5; 1 was no better.
"""


class Engine:
    """Runs requests on one model.

    It supports neither rules that see the future nor models whose cache cannot be reused; `check` raises for them.
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
            model: any Mixture-of-Recursions, recursive or plain model, in evaluation mode.
            leaving_share: see `LEAVING_SHARE`.
            compiled: compiled modules of this model, for stages with a single token.
        """
        self.model = model
        self.config: MoRConfig = model.config
        self.leaving_share = leaving_share
        self._num_recursions = self.config.num_recursions
        self._runner = ModelRunner(model, compiled)
        self.plan = self._runner.plan
        self.like = model.model.embed_tokens.weight
        self._new: list[RequestState] = []  # not yet prefilled
        self._entering: list[RequestState] = []  # with a new token
        self._inside: list[RequestState] = []  # before a router or the block
        self._leaving: list[RequestState] = []  # finished with the block
        self._finished: list[RequestState] = []  # with a result in this step

    def submit(
        self,
        ids: Sequence[int],
        rule: RoutingRule,
        max_new_tokens: int,
        *,
        wants_prompt_logits: bool = False,
        stores: list[KeyValueStore] | None = None,
    ) -> RequestState:
        """Add a request, which joins at the next step; return its state.

        Args:
            ids: token ids of the prompt.
            rule: its routing rule.
            max_new_tokens: how many tokens it is expected to generate at most; more are possible, but move its cache.
            wants_prompt_logits: whether the prefill returns the logits of all prompt tokens or only of the last.
            stores: keys and values of all tokens but the last, one store per cache slot, which replace the prefill.

        Raises:
            ValueError: the engine cannot follow the rule.
        """
        check(self.config, rule)
        routing = TokenRouting(self.config, rule, ids)
        request = RequestState(list(ids), rule, routing, max_new_tokens, wants_prompt_logits)
        if stores is None:
            self._new.append(request)
        else:
            request.stores = stores
            self.take_token(request, request.ids.pop())
        return request

    def take_token(self, request: RequestState, token_id: int) -> None:
        """Let a request process its next token from the coming step on."""
        request.start_token(token_id)
        self._entering.append(request)

    def end(self, request: RequestState) -> None:
        """Remove a request and free its cache."""
        for queue in (self._new, self._entering, self._inside, self._leaving):
            if request in queue:
                queue.remove(request)
        request.stores = []

    @property
    def requests(self) -> list[RequestState]:
        """Requests with work to do."""
        return [*self._new, *self._entering, *self._inside, *self._leaving]

    @property
    def counters(self) -> Counters:
        """The work done so far."""
        return self._runner.counters

    @property
    def is_idle(self) -> bool:
        """Whether no request has work to do."""
        return not self.requests

    @torch.inference_mode()
    def step(self) -> list[RequestState]:
        """Prefill new requests, embed new tokens, run the block once, and run the coda if enough tokens wait for it.

        Returns:
            The requests that have a `result`, which raises if a model call failed. Call `take_token` or `end` for each.
        """
        self._finished = []
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
        return self._finished

    def _call(
        self, stage: Callable[[list[RequestState]], None], requests: list[RequestState]
    ) -> None:
        """Run a stage on requests. A failing model call is caught here, and only here; it ends the stage's requests."""
        if not requests:
            return
        try:
            stage(requests)
        except Exception as error:  # such as out of memory; other requests continue
            for request in requests:
                self.end(request)
                request.failure = error
            self._finished += requests

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
        self._finished.append(request)

    def _enter(self, requests: list[RequestState]) -> None:
        self._runner.enter(requests)
        self._enqueue(requests)

    def _recur(self, requests: list[RequestState]) -> None:
        continuing = self._runner.route(requests)
        if continuing:
            self._runner.recur(continuing)
        inside = set(map(id, continuing))
        self._leaving += [request for request in requests if id(request) not in inside]
        self._enqueue(continuing)

    def _enqueue(self, requests: list[RequestState]) -> None:
        """Queue requests for the next router, or for the coda if no recursion is left."""
        for request in requests:
            is_done = request.recursion == self._num_recursions
            (self._leaving if is_done else self._inside).append(request)

    def _leave(self, requests: list[RequestState]) -> None:
        logits = self._runner.leave(requests)
        now = time.perf_counter()
        for request, row in zip(requests, logits.split(1), strict=True):
            request.finish_token(row, now)
        self._finished += requests


def can_follow(model: MoRForCausalLM, rule: RoutingRule) -> bool:
    """Whether the engine can run a model under a rule: their cache can be reused, and the weights are plain tensors."""
    plain = all(type(weight.data) is Tensor for weight in model.parameters())
    return plain and keeps_cache(model.config, rule)


def keeps_cache(config: MoRConfig, rule: RoutingRule) -> bool:
    """Whether the cache of a sequence stays valid when the sequence grows."""
    return not rule.sees_future and config.can_reuse_cache


def check(config: MoRConfig, rule: RoutingRule) -> None:
    """Check that a request with a cache can follow a rule.

    Raises:
        ValueError: the rule does not fit the model or sees the future, or the model's cache cannot be reused.
    """
    rule.check(config)
    if not keeps_cache(config, rule):
        raise ValueError(
            f'the engine reuses its cache, which routing {rule.name} with kv_strategy="{config.kv_strategy}" '
            "does not allow; recompute the whole sequence for each token instead"
        )
