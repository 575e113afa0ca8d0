"""Requests without a trace, for benchmarks of the engine, and the loop that serves them."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from mor_core.model.routing_rules import RoutingRule
from mor_core.serving.engine import Engine
from mor_core.serving.processed import Processed
from mor_core.serving.request_state import RequestState


class Request(Protocol):
    """A request to the engine.

    Attributes:
        ids: token ids of the prompt.
        rule: the routing rule.
        max_new_tokens: upper limit on its new tokens.
    """

    ids: Sequence[int]
    rule: RoutingRule
    max_new_tokens: int

    def take(self, processed: Processed) -> int | None:
        """Take a processed position; return the next token, `None` to end."""


@dataclass
class PlainRequest:
    """A greedy request for `max_new_tokens` tokens after `ids`; `num_taken` counts the tokens so far."""

    ids: Sequence[int]
    rule: RoutingRule
    max_new_tokens: int
    num_taken: int = 0

    def take(self, processed: Processed) -> int | None:
        """Take a processed position; return the most probable token, `None` after the last."""
        self.num_taken += 1
        chosen = int(processed.logits[-1].cpu().numpy().argmax())
        return chosen if self.num_taken < self.max_new_tokens else None


def submit_prompt(engine: Engine, request: Request) -> RequestState:
    """Submit a request, whose prompt the engine will prefill."""
    return engine.submit(request.ids, request.rule, request.max_new_tokens)


class Batch:
    """Requests that one engine serves, at most `num_slots` at a time."""

    def __init__(
        self,
        engine: Engine,
        requests: Iterable[Request],
        num_slots: int,
        submit: Callable[[Engine, Request], RequestState] = submit_prompt,
    ) -> None:
        self.engine, self.num_slots = engine, num_slots
        self._submit = submit
        self._waiting = deque(requests)
        self._running: dict[RequestState, Request] = {}

    def run(self) -> None:
        """Serve all requests.

        Raises:
            Exception: a model call failed. It is not swallowed, since a failed request would look fast.
        """
        while self._waiting or self._running:
            self.step()

    def step(self) -> None:
        """Admit waiting requests to free slots, step the engine, and dispatch its results."""
        while self._waiting and len(self._running) < self.num_slots:
            request = self._waiting.popleft()
            self._running[self._submit(self.engine, request)] = request
        for state in self.engine.step():
            chosen = self._running[state].take(state.result())
            if chosen is None:
                self.engine.end(state)
                del self._running[state]
            else:
                self.engine.take_token(state, chosen)
