"""A request on the engine: what it wants, where its token stands, and what became known of it.

Shapes: E hidden size, R recursions, V vocabulary.
"""

from dataclasses import dataclass, field

from torch import Tensor

from mor_core.model.routing_rules import RoutingRule
from mor_core.serving.processed import Processed
from mor_core.serving.request_kv_cache import KeyValueStore
from mor_core.serving.token_routing import TokenRouting


@dataclass(eq=False)
class RequestState:
    """A request under way: its cache, and where its token stands.

    Attributes:
        ids: all tokens so far; while decoding, the last one is under way.
        rule: its routing rule.
        routing: the rule on this model.
        max_new_tokens: the most that it will ask for; memory for its keys and values is allocated accordingly.
        wants_prompt_logits: whether the prefill returns the logits of all prompt tokens or only of the last.
        stores: its keys and values, one a cache slot.
        experts: where Switch layers sent the token so far.
        router_logits: what routers said of the token so far.
        recursion: how many it took so far.
        depth: how many a token-choice token wants.
        hidden_state: (1, E), of the token.
        gate: (1, 1), of the recursion to come; of all of them (1, R) for token-choice.
        first_state: (1, E), that a token-choice token came with.
        held_before: entries of each slot without the token.
        started: when the token was taken up.
        processed: what the last call computed for it.
        failure: why it cannot go on.
    """

    ids: list[int]
    rule: RoutingRule
    routing: TokenRouting
    max_new_tokens: int
    wants_prompt_logits: bool
    stores: list[KeyValueStore] = field(default_factory=list)
    experts: list[int] = field(default_factory=list)
    router_logits: list[float] = field(default_factory=list)
    recursion: int = 0
    depth: int = 0
    hidden_state: Tensor | None = None
    gate: Tensor | None = None
    first_state: Tensor | None = None
    held_before: list[int] = field(default_factory=list)
    started: float = 0.0
    processed: Processed | None = None
    failure: Exception | None = None

    def result(self) -> Processed:
        """Return what the last step computed for this request.

        Raises:
            Exception: of the model call that failed.
        """
        if self.failure is not None:
            raise self.failure
        assert self.processed is not None, "result needs a request that a step returned"
        return self.processed

    def take_up(self, token_id: int) -> None:
        """Begin with a new token."""
        self.ids.append(token_id)
        self.routing.extend(self.ids)
        self.recursion = 0
        self.router_logits = []
        self.experts = []
        self.held_before = [store.length for store in self.stores]

    def leave(self, logits: Tensor, now: float) -> None:
        """Note what was spent on the token, which is through; logits (1, V), of the next one."""
        held = [store.length for store in self.stores]
        took = [
            slot for slot, (a, b) in enumerate(zip(self.held_before, held, strict=True)) if b > a
        ]
        self.processed = Processed(
            first_position=self.position,
            depths=[self.recursion],
            router_logits=[self.router_logits],
            experts=[self.experts],
            cached_slots=[took],
            cache_entries=held,
            cache_bytes=[store.used_bytes for store in self.stores],
            latency_s=now - self.started,
            logits=logits,
        )

    @property
    def position(self) -> int:
        """Of the token under way: the last of all."""
        return len(self.ids) - 1


@dataclass
class Counters:
    """What an engine has done, for benchmarks: how often each stage ran, and on how many tokens in all.

    Attributes:
        prelude: (runs, tokens) through embedding and prelude.
        block: the same through the shared block.
        coda: the same through coda and head.
        entries_read: cache entries that attention read, summed over layer calls.
    """

    prelude: list[int] = field(default_factory=lambda: [0, 0])
    block: list[int] = field(default_factory=lambda: [0, 0])
    coda: list[int] = field(default_factory=lambda: [0, 0])
    entries_read: int = 0

    def reset(self) -> None:
        """Begin anew."""
        vars(self).update(vars(Counters()))
