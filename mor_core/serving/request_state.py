"""A request on the engine: what it wants, where its token stands, and what was spent on it.

Shapes: E hidden size, R recursions, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from mor_core.model.model import MoROutput
from mor_core.model.routing_rules import RoutingRule
from mor_core.serving.request_kv_cache import KeyValueStore
from mor_core.serving.token_routing import Decider


@dataclass(frozen=True)
class Processed:
    """What was spent on one token, which is now in the cache.

    Attributes:
        position: of the token.
        depth: recursions taken.
        router_logits: of the network that decides, as far as it was asked; token-choice is asked for all depths.
        experts: where Switch layers sent the token.
        cache_entries: tokens that each cache slot holds now.
        cache_bytes: bytes of these in the real tensors.
        cached_slots: which slots took the token.
        latency_s: from the step that took the token up to the one that knows the next.
    """

    position: int
    depth: int
    router_logits: list[float]
    experts: list[int]
    cache_entries: list[int]
    cache_bytes: list[int]
    cached_slots: list[int]
    latency_s: float


class Request(Protocol):
    """What a caller wants, and who it tells; both methods are called from `Engine.step`.

    Attributes:
        ids: of the prompt.
        rule: who goes how deep.
        max_new_tokens: the most that it will ask for, for planning memory.
        needs_prompt_logits: whether `begin` reads the logits of all prompt tokens or only of the last.
    """

    ids: Sequence[int]
    rule: RoutingRule
    max_new_tokens: int
    needs_prompt_logits: bool

    def begin(self, output: MoROutput, latency_s: float) -> int | None:
        """Take the prefill's output; return the next token, `None` to end."""

    def advance(self, processed: Processed, logits: Tensor) -> int | None:
        """Take what became known of the token returned last, with logits (V,) after it; return the next one."""


@dataclass(eq=False)
class Flight:
    """A request under way: its cache, and where its token stands.

    Attributes:
        request: what is wanted.
        decider: its rule on this model.
        stores: its keys and values, one a cache slot.
        ids: all tokens so far, the last being under way.
        experts: where Switch layers sent the token so far.
        router_logits: what routers said of the token so far.
        recursion: how many it took so far.
        depth: how many a token-choice token wants.
        state: (1, E).
        gate: (1, 1), of the recursion to come; of all of them (1, R) for token-choice.
        first_state: (1, E), that a token-choice token came with.
        held_before: entries of each slot without the token.
        started: when the token was taken up.
        outgrown_bytes: of memory that it had when it was sent back to wait.
        failure: why the request cannot go on.
    """

    request: Request
    decider: Decider
    stores: list[KeyValueStore] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    experts: list[int] = field(default_factory=list)
    router_logits: list[float] = field(default_factory=list)
    recursion: int = 0
    depth: int = 0
    state: Tensor | None = None
    gate: Tensor | None = None
    first_state: Tensor | None = None
    held_before: list[int] = field(default_factory=list)
    started: float = 0.0
    outgrown_bytes: int = 0
    failure: Exception | None = None

    def processed(self, now: float) -> Processed:
        """Return what was spent on the token, which is through."""
        held = [store.length for store in self.stores]
        return Processed(
            position=self.position,
            depth=self.recursion,
            router_logits=self.router_logits,
            experts=self.experts,
            cache_entries=held,
            cache_bytes=[store.used_bytes for store in self.stores],
            cached_slots=[
                s for s, (a, b) in enumerate(zip(self.held_before, held, strict=True)) if b > a
            ],
            latency_s=now - self.started,
        )

    def take_up(self, token_id: int) -> None:
        """Begin with a new token."""
        self.ids.append(token_id)
        self.recursion = 0
        self.router_logits = []
        self.experts = []
        self.held_before = [store.length for store in self.stores]

    @property
    def position(self) -> int:
        """Of the token under way: the last of all."""
        return len(self.ids) - 1


@dataclass
class Counters:
    """What an engine has done, for benchmarks: how often each stretch ran, and on how many tokens in all.

    Attributes:
        prelude: (runs, tokens) through embedding and prelude.
        block: the same through the shared block.
        coda: the same through coda and head.
        entries_read: cache entries that attention read, summed over layer calls.
        preempted: requests that were sent back to wait, for want of memory.
    """

    prelude: list[int] = field(default_factory=lambda: [0, 0])
    block: list[int] = field(default_factory=lambda: [0, 0])
    coda: list[int] = field(default_factory=lambda: [0, 0])
    entries_read: int = 0
    preempted: int = 0

    def reset(self) -> None:
        """Begin anew."""
        vars(self).update(vars(Counters()))
