"""The requests that benchmarks of the engine make, and the loop that serves them: nothing is recorded."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from mor_core.model.routing_rules import RoutingRule
from mor_core.serving.engine import Engine
from mor_core.serving.processed import Processed
from mor_core.serving.request_state import RequestState


class Request(Protocol):
    """What is wanted of the engine.

    Attributes:
        ids: of the prompt.
        rule: its routing rule.
        max_new_tokens: the most that it will ask for.
    """

    ids: Sequence[int]
    rule: RoutingRule
    max_new_tokens: int

    def take(self, processed: Processed) -> int | None:
        """Take what was computed; return the next token, `None` to end."""


@dataclass
class PlainRequest:
    """A request for `max_new_tokens` tokens after `ids`, each the most probable; `num_taken` counts those it got."""

    ids: Sequence[int]
    rule: RoutingRule
    max_new_tokens: int
    num_taken: int = 0

    def take(self, processed: Processed) -> int | None:
        """Take what was computed; return the most probable token, `None` once there are enough."""
        self.num_taken += 1
        chosen = int(processed.logits[-1].cpu().numpy().argmax())
        return chosen if self.num_taken < self.max_new_tokens else None


def submitted(engine: Engine, request: Request) -> RequestState:
    """Submit a request, whose prompt is to be read."""
    return engine.submit(request.ids, request.rule, request.max_new_tokens)


class Batch:
    """Requests that one engine serves, as many at once as there are slots."""

    def __init__(
        self,
        engine: Engine,
        requests: Iterable[Request],
        num_slots: int,
        submit: Callable[[Engine, Request], RequestState] = submitted,
    ) -> None:
        self.engine, self.num_slots = engine, num_slots
        self._submit = submit
        self._waiting = deque(requests)
        self._running: dict[RequestState, Request] = {}

    def run(self) -> None:
        """Serve them all.

        Raises:
            Exception: of a model call; a request that failed would look fast.
        """
        while self._waiting or self._running:
            self.step()

    def step(self) -> None:
        """Admit whom there are slots for, step the engine, and hand out what it computed."""
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
