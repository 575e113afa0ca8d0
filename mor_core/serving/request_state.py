"""A request in the engine: its settings, the state of its current token, and its last result.

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
    """One request in the engine: its cache and the state of its current token.

    Attributes:
        ids: all tokens so far; while decoding, the last one is the current token.
        rule: its routing rule.
        routing: the rule applied to single tokens of this model.
        max_new_tokens: how many tokens it is expected to generate at most; its cache is allocated accordingly.
        wants_prompt_logits: whether the prefill returns the logits of all prompt tokens or only of the last.
        stores: its keys and values, one store per cache slot.
        experts: the token's experts in the Switch layers so far.
        router_logits: the token's router logits so far.
        recursion: recursions that the token has taken so far.
        depth: recursions that a token-choice token will take.
        hidden_state: (1, E), of the token.
        gate: (1, 1), of the next recursion; for token-choice (1, R), of all recursions.
        first_state: (1, E), the state of a token-choice token before recursion 1.
        entries_before: entries of each cache slot before the token.
        started: time at which the token started, by `time.perf_counter`.
        processed: the result of its last call.
        failure: the error that ended it.
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
    entries_before: list[int] = field(default_factory=list)
    started: float = 0.0
    processed: Processed | None = None
    failure: Exception | None = None

    def result(self) -> Processed:
        """Return the result of the last step for this request.

        Raises:
            Exception: the error of the model call that failed.
        """
        if self.failure is not None:
            raise self.failure
        assert self.processed is not None, "result needs a request that a step returned"
        return self.processed

    def start_token(self, token_id: int) -> None:
        """Make a new token the current one."""
        self.ids.append(token_id)
        self.routing.extend(self.ids)
        self.recursion = 0
        self.router_logits = []
        self.experts = []
        self.entries_before = [store.length for store in self.stores]

    def finish_token(self, logits: Tensor, now: float) -> None:
        """Store the result of the current token; logits (1, V), of the next one."""
        held = [store.length for store in self.stores]
        cached_slots = [
            slot for slot, (a, b) in enumerate(zip(self.entries_before, held, strict=True)) if b > a
        ]
        self.processed = Processed(
            first_position=self.position,
            depths=[self.recursion],
            router_logits=[self.router_logits],
            experts=[self.experts],
            cached_slots=[cached_slots],
            cache_entries=held,
            cache_bytes=[store.used_bytes for store in self.stores],
            latency_s=now - self.started,
            logits=logits,
        )

    @property
    def position(self) -> int:
        """Position of the current token, which is the last one."""
        return len(self.ids) - 1


@dataclass
class Counters:
    """The work of an engine, for benchmarks: how often each stage ran, and on how many tokens in total.

    Attributes:
        prelude: (runs, tokens) through embedding and prelude.
        block: (runs, tokens) through the shared block.
        coda: (runs, tokens) through coda and head.
        entries_read: cache entries that attention read, summed over layer calls.
    """

    prelude: list[int] = field(default_factory=lambda: [0, 0])
    block: list[int] = field(default_factory=lambda: [0, 0])
    coda: list[int] = field(default_factory=lambda: [0, 0])
    entries_read: int = 0

    def reset(self) -> None:
        """Set all counts to zero."""
        vars(self).update(vars(Counters()))
