"""The record of one run: what every chart, table, export and test reads.

Plain data without tensors, so that a recorded run draws before any weights are loaded and torch is never imported.
What a field must hold is declared with the field, and `trace_schema.py` checks files by it.
A token's depth is the computation spent at its position, that is on predicting the next token. The newest token of a
generation has none yet. `log_probability`, `entropy` and `alternatives` say how a token was chosen (from the position
before it); depth, router values and cache entries say what was spent at it.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from mor_core.model.router_types import RouterTraits
from mor_core.traces import trace_rules as rules

TRACE_SCHEMA = "mortrace"
TRACE_VERSION = 1
TRACE_SUFFIX = ".mortrace.json.gz"
LENS_VERSION = 1

Phase = Literal["prefill", "decode"]


@dataclass(frozen=True)
class CacheSlot:
    """One (recursion, layer) pair that keeps keys and values.

    Attributes:
        stage: `prelude`, `shared` or `coda`.
        recursion: 1-based; `None` outside the shared block.
        layer: 1-based inside its stage.
        label: short name for an axis, such as `R2 L1`.
    """

    stage: str = field(metadata=rules.TEXT)
    recursion: int | None = field(metadata=rules.RECURSION)
    layer: int = field(metadata=rules.COUNT)
    label: str = field(metadata=rules.TEXT)


@dataclass(frozen=True)
class Alternative:
    """One candidate for a position, with the probability that the sampler's distribution gave it."""

    token_id: int = field(metadata=rules.COUNT)
    text: str = field(metadata=rules.TEXT)
    probability: float = field(metadata=rules.NUMBER)


@dataclass
class TokenRecord:
    """One token of a run.

    Attributes:
        position: 0-based place in the sequence, the special first token included.
        token_id: vocabulary index.
        text: the token alone, decoded; the bytes that are not UTF-8 by themselves show as U+FFFD.
        token_bytes: the same as hexadecimal, exact.
        special: True for tokens such as the document start; they are left out of mean depth.
        phase: the phase in which this position runs through the model.
        recursion_depth: recursions taken (1..R, or 0 below a first capacity of 1); `None` if not yet computed.
        router_logits: one per recursion, of the router that decides: the auxiliary one where the rule is `aux`; `None`
            where not computed (an inactive token, or no router there).
        router_scores: the same after the activation, before alpha.
        cached_slots: indices into `header.cache_slots` that hold this position.
        log_probability: of this token under the model's unmodified distribution, in nats; `None` for the first.
        entropy: of that distribution, in nats; `None` for the first.
        alternatives: most probable candidates, best first; empty for the first.
        latency_s: seconds of the step that computed this position; `None` if shared by a prefill or not computed.
        expert_idx: the expert that each Switch layer call sent this position to, 0-based, in the order of the calls;
            empty without such layers. It has nothing to do with expert-choice routing.
        lens: what an early exit after recursion 1, 2, ... predicts as the next token, best first; one list for each
            recursion that the token took (one where it took none), so the last is the model's own prediction. Empty
            where no lens was computed.
    """

    position: int = field(metadata=rules.COUNT)
    token_id: int = field(metadata=rules.COUNT)
    text: str = field(metadata=rules.TEXT)
    token_bytes: str = field(metadata=rules.HEXADECIMAL)
    special: bool = field(metadata=rules.FLAG)
    phase: Phase = field(metadata=rules.PHASE)
    recursion_depth: int | None = field(metadata=rules.DEPTH)
    router_logits: list[float | None] = field(metadata=rules.SCORES)
    router_scores: list[float | None] = field(metadata=rules.SCORES)
    cached_slots: list[int] = field(metadata=rules.SLOTS)
    log_probability: float | None = field(default=None, metadata=rules.NUMBER_OR_NULL)
    entropy: float | None = field(default=None, metadata=rules.NUMBER_OR_NULL)
    alternatives: list[Alternative] = field(default_factory=list, metadata=rules.LIST)
    latency_s: float | None = field(default=None, metadata=rules.NUMBER_OR_NULL)
    expert_idx: list[int] = field(default_factory=list, metadata=rules.INDICES | rules.LATER)
    lens: list[list[Alternative]] = field(default_factory=list, metadata=rules.EXITS | rules.LATER)

    @property
    def prediction_depth(self) -> int | None:
        """The first recursion (1-based) whose early exit predicts what the last one predicts; `None` without a lens."""
        best = [exit_[0].token_id for exit_ in self.lens]
        return best.index(best[-1]) + 1 if best else None

    def as_dict(self) -> dict[str, Any]:
        """Do what `dataclasses.asdict` does, without its deep copies of lists of numbers, which take long."""
        return vars(self) | {
            "alternatives": [vars(choice).copy() for choice in self.alternatives],
            "lens": [[vars(choice).copy() for choice in choices] for choices in self.lens],
        }


@dataclass(frozen=True)
class StepRecord:
    """One call of the model, measured.

    Attributes:
        phase: prefill or decode.
        first_position: of the tokens computed in this call.
        num_tokens: how many.
        latency_s: wall-clock seconds of the call.
        active_flops: multiply-add = 2, of what routing needed in this call.
        cache_entries: tokens held after the call, one number a slot.
        cache_bytes: bytes of the real tensors after the call, one number a slot.
        dense_flops: what the call would have cost at full depth; `None` in files from before it was noted.
    """

    phase: Phase = field(metadata=rules.PHASE)
    first_position: int = field(metadata=rules.COUNT)
    num_tokens: int = field(metadata=rules.COUNT)
    latency_s: float = field(metadata=rules.NUMBER)
    active_flops: int = field(metadata=rules.COUNT)
    cache_entries: list[int] = field(metadata=rules.COUNTS_OF_SLOTS)
    cache_bytes: list[int] = field(metadata=rules.COUNTS_OF_SLOTS)
    dense_flops: int | None = field(default=None, metadata=rules.COUNT_OR_NULL | rules.LATER)


@dataclass
class TraceHeader:
    """What produced the run.

    Attributes:
        kind: `generate` (a prompt continued) or `analyse` (a text read).
        checkpoint: folder name.
        checkpoint_sha256: of the weight files; 64 hexadecimal digits.
        config: the model's own settings, as in its `config.json`.
        router: what its routers can do; in files from before it was noted, what `config` says.
        num_recursions: R, the largest depth, and the fixed colour domain.
        routing: `name` of the rule, `gate`, and its settings (`thresholds` as scores, one per recursion).
        kv_strategy: `recursion_wise` or `shared`.
        cache_slots: one description a slot.
        kv_bytes_per_entry: bytes of one token in one slot.
        full_depth_flops: what the same positions would have cost at full depth; multiply-add = 2.
        vanilla_kv_bytes: KV bytes of a plain Transformer of the same unrolled depth for the same positions.
        sampling: temperature, top_k, seed, max_new_tokens; empty for `analyse`.
        device: such as `cpu` or the name of the GPU.
        dtype: such as `float32`.
        versions: of the packages that computed it.
        created: ISO 8601, UTC.
        finish_reason: `length`, `stop_token`, `context_full`, `cancelled` or `None` while running.
        windows: half-open position ranges that a long text was analysed in; empty if it fitted.
        title: for a gallery.
        note: what to look for.
        lens: how the early-exit predictions of the tokens were computed, after the run; empty if they were not.
    """

    kind: Literal["generate", "analyse"] = field(metadata=rules.KIND)
    checkpoint: str = field(metadata=rules.TEXT)
    checkpoint_sha256: str = field(metadata=rules.TEXT)
    config: dict[str, Any] = field(metadata=rules.PLAIN)
    router: RouterTraits = field(metadata=rules.LATER)
    num_recursions: int = field(metadata=rules.NUM_RECURSIONS)
    routing: dict[str, Any] = field(metadata=rules.PLAIN)
    kv_strategy: str = field(metadata=rules.TEXT)
    cache_slots: list[CacheSlot] = field(metadata=rules.LIST)
    kv_bytes_per_entry: int = field(metadata=rules.COUNT)
    full_depth_flops: int = field(metadata=rules.COUNT)
    vanilla_kv_bytes: int = field(metadata=rules.COUNT)
    sampling: dict[str, Any] = field(metadata=rules.PLAIN)
    device: str = field(metadata=rules.TEXT)
    dtype: str = field(metadata=rules.TEXT)
    versions: dict[str, str] = field(metadata=rules.PLAIN)
    created: str = field(metadata=rules.TEXT)
    finish_reason: str | None = field(default=None, metadata=rules.TEXT_OR_NULL)
    windows: list[list[int]] = field(default_factory=list, metadata=rules.WINDOWS)
    title: str = field(default="", metadata=rules.TEXT)
    note: str = field(default="", metadata=rules.TEXT)
    lens: dict[str, Any] = field(default_factory=dict, metadata=rules.PLAIN | rules.LATER)


@dataclass
class Trace:
    """A header, the tokens in order of position, and the model calls in order of time."""

    header: TraceHeader
    tokens: list[TokenRecord] = field(default_factory=list)
    steps: list[StepRecord] = field(default_factory=list)

    @property
    def mean_recursion_depth(self) -> float | None:
        """Mean over content tokens whose depth is known; specials are left out."""
        depths = [
            token.recursion_depth
            for token in self.tokens
            if not token.special and token.recursion_depth is not None
        ]
        return sum(depths) / len(depths) if depths else None

    def depth_histogram(self, phase: Phase | None = None) -> list[int]:
        """Count content tokens at depth 1, 2, ... R, of one phase or of both; depth 0 is not among them."""
        counts = [0] * self.header.num_recursions
        for token in self.tokens:
            wanted = phase is None or token.phase == phase
            if wanted and not token.special and token.recursion_depth:
                counts[token.recursion_depth - 1] += 1
        return counts
