"""The record of one run, which every chart, table, export and test reads.

Plain data without tensors: the app draws a recorded run without loading weights or importing torch. Each field declares
the rule that its value must satisfy, and `trace_schema.py` checks files by these rules.

A token's depth is the number of recursions computed at its position, that is, to predict the next token. The newest
token of a generation has no depth yet. `log_probability`, `entropy` and `alternatives` describe how the token was
chosen, at the position before it; depth, router values and cache entries describe the computation at its own position.
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
    """One slot of the KV cache: a (recursion, layer) pair that stores keys and values.

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
    """One candidate token for a position, with its probability under the sampling distribution."""

    token_id: int = field(metadata=rules.COUNT)
    text: str = field(metadata=rules.TEXT)
    probability: float = field(metadata=rules.NUMBER)


@dataclass
class TokenRecord:
    """One token of a run.

    Attributes:
        position: 0-based index in the sequence, which begins with the special document-start token.
        token_id: vocabulary index.
        text: the token decoded alone; bytes that are not valid UTF-8 by themselves appear as U+FFFD.
        token_bytes: the token's exact bytes, in hexadecimal.
        special: True for tokens such as the document start; they do not count towards mean depth.
        phase: the phase that computes this position.
        recursion_depth: recursions taken: 1 to R, or 0 if the first capacity is below 1; `None` if not yet computed.
        router_logits: one per recursion, of the router that decides, which is the auxiliary one under the rule `aux`;
            `None` if not computed (the token was inactive, or the recursion has no router).
        router_scores: the same after the activation, before alpha.
        cached_slots: indices into `header.cache_slots` of the slots that hold this position.
        log_probability: of this token under the model's unmodified distribution, in nats; `None` for the first.
        entropy: of that distribution, in nats; `None` for the first.
        alternatives: most probable candidates, best first; empty for the first.
        latency_s: seconds of the step that computed this position; `None` in a prefill, whose positions share one step,
            or if not computed.
        expert_idx: the 0-based expert that each Switch (MoE) layer call sent this position to, in the order of the
            calls; empty without such layers. Unrelated to expert-choice routing.
        lens: the most probable next tokens according to an early exit after recursion 1, 2, ..., best first: one list
            for each recursion that the token took (one list if it took none), so that the last is the model's own
            prediction. Empty if no early exits were computed.
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
    expert_idx: list[int] = field(default_factory=list, metadata=rules.INDICES | rules.ADDED_LATER)
    lens: list[list[Alternative]] = field(
        default_factory=list, metadata=rules.EXITS | rules.ADDED_LATER
    )

    @property
    def prediction_depth(self) -> int | None:
        """The first recursion (1-based) whose early exit predicts the same token as the last; `None` without `lens`."""
        best = [exit_[0].token_id for exit_ in self.lens]
        return best.index(best[-1]) + 1 if best else None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain data, like `dataclasses.asdict` but without its slow deep copies of lists."""
        return vars(self) | {
            "alternatives": [vars(choice).copy() for choice in self.alternatives],
            "lens": [[vars(choice).copy() for choice in choices] for choices in self.lens],
        }


@dataclass(frozen=True)
class StepRecord:
    """One call of the model and its measured cost.

    Attributes:
        phase: prefill or decode.
        first_position: position of the first token computed in this call.
        num_tokens: number of tokens computed in this call.
        latency_s: wall-clock seconds of the call.
        active_flops: FLOPs of the recursions that the routing rule selected in this call; multiply-add = 2.
        cache_entries: tokens in each cache slot after the call.
        cache_bytes: bytes of each cache slot's tensors after the call.
        dense_flops: FLOPs of the call if every token took every recursion; `None` in older files without this field.
    """

    phase: Phase = field(metadata=rules.PHASE)
    first_position: int = field(metadata=rules.COUNT)
    num_tokens: int = field(metadata=rules.COUNT)
    latency_s: float = field(metadata=rules.NUMBER)
    active_flops: int = field(metadata=rules.COUNT)
    cache_entries: list[int] = field(metadata=rules.COUNTS_OF_SLOTS)
    cache_bytes: list[int] = field(metadata=rules.COUNTS_OF_SLOTS)
    dense_flops: int | None = field(default=None, metadata=rules.COUNT_OR_NULL | rules.ADDED_LATER)


@dataclass
class TraceHeader:
    """The model, the settings and the totals of a run.

    Attributes:
        kind: `generate` (a prompt was continued) or `analyse` (a text was read).
        checkpoint: folder name.
        checkpoint_sha256: of the weight files; 64 hexadecimal digits.
        config: the model's `config.json`.
        router: the traits of the router type; derived from `config` for older files without this field.
        num_recursions: R, the largest depth, and the upper end of every depth colour scale.
        routing: `name` of the rule, `gate`, and its settings (`thresholds` as scores, one per recursion).
        kv_strategy: `recursion_wise` or `shared`.
        cache_slots: one description per slot.
        kv_bytes_per_entry: bytes of one token in one slot.
        full_depth_flops: FLOPs of the same positions if every token took every recursion; multiply-add = 2.
        vanilla_kv_bytes: KV bytes of a plain Transformer of the same unrolled depth for the same positions.
        sampling: temperature, top_k, seed, max_new_tokens; empty for `analyse`.
        device: such as `cpu` or the name of the GPU.
        dtype: such as `float32`.
        versions: of the packages that computed the run.
        created: ISO 8601, UTC.
        finish_reason: `length`, `stop_token`, `context_full`, `cancelled` or `None` while running.
        windows: half-open position ranges in which a long text was analysed; empty if the text fitted the context.
        title: shown in the gallery.
        note: what to look for, shown in the gallery.
        lens: how the early-exit predictions (`TokenRecord.lens`) were computed after the run; empty if they were not.
    """

    kind: Literal["generate", "analyse"] = field(metadata=rules.KIND)
    checkpoint: str = field(metadata=rules.TEXT)
    checkpoint_sha256: str = field(metadata=rules.TEXT)
    config: dict[str, Any] = field(metadata=rules.PLAIN)
    router: RouterTraits = field(metadata=rules.ADDED_LATER)
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
    lens: dict[str, Any] = field(default_factory=dict, metadata=rules.PLAIN | rules.ADDED_LATER)


@dataclass
class Trace:
    """A header, the tokens in order of position, and the model calls in order of time."""

    header: TraceHeader
    tokens: list[TokenRecord] = field(default_factory=list)
    steps: list[StepRecord] = field(default_factory=list)

    @property
    def mean_recursion_depth(self) -> float | None:
        """Mean depth of the content tokens whose depth is known; `None` without any. Special tokens do not count."""
        depths = [
            token.recursion_depth
            for token in self.tokens
            if not token.special and token.recursion_depth is not None
        ]
        return sum(depths) / len(depths) if depths else None

    def depth_histogram(self, phase: Phase | None = None) -> list[int]:
        """Return the number of content tokens at depth 1, 2, ... R, in one phase or both; depth 0 is not counted."""
        counts = [0] * self.header.num_recursions
        for token in self.tokens:
            wanted = phase is None or token.phase == phase
            if wanted and not token.special and token.recursion_depth:
                counts[token.recursion_depth - 1] += 1
        return counts
