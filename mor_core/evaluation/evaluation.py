"""Measures a checkpoint's loss on a text under one routing rule, and the FLOPs spent.

Every published figure of the project uses this protocol: each document follows one document-start token; every token is
scored once; windows have the context's length and move by half of it; bytes are those of the documents in UTF-8,
without separators.

Shapes: B windows per batch, S positions, R recursions, V vocabulary.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from mor_core.checkpoints.checkpoint import LoadedCheckpoint
from mor_core.checkpoints.tokenizer import DOCUMENT_START_ID, encode_texts
from mor_core.evaluation.bootstrap import ratio_interval
from mor_core.model.accounting import active_flops, dense_flops
from mor_core.model.config import MoRConfig
from mor_core.model.model import MoROutput
from mor_core.model.routing_rules import RoutingRule
from mor_core.traces.windows import Window, split_windows

_BATCH_POSITIONS = (
    4096  # bounds the memory of the logits: 64 MiB at a vocabulary of 4,096 in float32
)


@dataclass
class Evaluation:
    """Sums over a text; the figures to publish are its properties.

    Attributes:
        num_recursions: R.
        routing: the rule's settings.
        nll_nats: per document, the negative log-likelihood summed over its tokens.
        num_tokens: per document, the number of scored tokens.
        num_bytes: per document, its size in UTF-8.
        token_depths: per document, the depth of each scored token.
        depths: how many scored tokens took 0, 1, ... R recursions.
        active_flops: FLOPs of all windows, by the recursions that tokens took; multiply-add = 2.
        full_depth_flops: FLOPs of all windows if every token took every recursion.
        num_positions: positions that the model computed; overlaps of windows count each time.
        agreements: top-k only: per recursion, candidates whose threshold decision (score >= 0.5) equals the selection.
        candidates: top-k only: per recursion, the number of candidates.
    """

    num_recursions: int
    routing: dict[str, Any]
    nll_nats: list[float] = field(default_factory=list)
    num_tokens: list[int] = field(default_factory=list)
    num_bytes: list[int] = field(default_factory=list)
    token_depths: list[list[int]] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    active_flops: int = 0
    full_depth_flops: int = 0
    num_positions: int = 0
    agreements: list[int] = field(default_factory=list)
    candidates: list[int] = field(default_factory=list)

    @property
    def nll_nats_per_token(self) -> float:
        """Mean negative log-likelihood per token in nats."""
        return sum(self.nll_nats) / sum(self.num_tokens)

    @property
    def bits_per_byte(self) -> float:
        """Negative log-likelihood in bits per byte of text, comparable between tokenizers."""
        return sum(self.nll_nats) / sum(self.num_bytes) / math.log(2)

    @property
    def mean_recursion_depth(self) -> float:
        """Mean depth of the content tokens; special tokens do not count."""
        return sum(depth * count for depth, count in enumerate(self.depths)) / sum(self.depths)

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as plain data."""
        figures = {
            "routing": self.routing,
            "nll_nats_per_token": self.nll_nats_per_token,
            "bits_per_byte": self.bits_per_byte,
            "perplexity": math.exp(self.nll_nats_per_token),
            "mean_recursion_depth": self.mean_recursion_depth,
            "depth_histogram": self.depths[1:],
            "num_depth_zero": self.depths[0],
            "active_flops_per_token": self.active_flops / self.num_positions,
            "full_depth_flops_per_token": self.full_depth_flops / self.num_positions,
            "num_tokens": sum(self.num_tokens),
            "num_bytes": sum(self.num_bytes),
            "num_documents": len(self.num_tokens),
            "num_positions": self.num_positions,
        }
        if self.candidates:
            figures["threshold_agreement"] = [
                agree / count for agree, count in zip(self.agreements, self.candidates, strict=True)
            ]
        return figures

    def intervals(self) -> dict[str, list[float]]:
        """Return the 95% intervals of the losses over documents; meaningless for a single document."""
        nats = ratio_interval(self.nll_nats, self.num_tokens)
        bits = ratio_interval(self.nll_nats, self.num_bytes)
        return {
            "nll_interval": nats,
            "bits_per_byte_interval": [bound / math.log(2) for bound in bits],
            "perplexity_interval": [math.exp(bound) for bound in nats],
        }


@dataclass(frozen=True)
class _Piece:
    """One window of one document."""

    document: int
    start: int  # position of the window within the document
    ids: list[int]
    first_scored: int  # position within the window


@torch.inference_mode()
def evaluate(
    loaded: LoadedCheckpoint,
    documents: Sequence[str],
    rule: RoutingRule,
) -> Evaluation:
    """Score documents under a routing rule.

    Args:
        loaded: model and tokenizer.
        documents: texts without separators.
        rule: the routing rule.

    Raises:
        ValueError: there is no document, or the rule does not fit the model.
    """
    config: MoRConfig = loaded.model.config
    rule.check(config)
    if not documents:
        raise ValueError("documents must hold at least one text, got none")
    encoded = [[DOCUMENT_START_ID, *ids] for ids in encode_texts(loaded.tokenizer, documents)]
    result = Evaluation(
        config.num_recursions,
        rule.describe(config),
        nll_nats=[0.0] * len(documents),
        num_tokens=[len(ids) - 1 for ids in encoded],
        num_bytes=[len(text.encode()) for text in documents],
        token_depths=[[0] * (len(ids) - 1) for ids in encoded],
        depths=[0] * (config.num_recursions + 1),
    )
    pieces = [
        _Piece(number, window.start, ids[window.start : window.end], _first_scored(window))
        for number, ids in enumerate(encoded)
        for window in split_windows(len(ids), config.max_position_embeddings)
    ]
    for batch in _batches(pieces):
        _score(loaded, batch, rule, result)
    return result


def _first_scored(window: Window) -> int:
    """Return the first position of a window to score: one not scored before, and never the document start."""
    return max(window.first_new - window.start, 1)


def _batches(pieces: list[_Piece]) -> Iterator[list[_Piece]]:
    """Group windows of similar lengths, so that batches need little padding."""
    batch: list[_Piece] = []
    for piece in sorted(pieces, key=lambda piece: -len(piece.ids)):
        if batch and (len(batch) + 1) * len(batch[0].ids) > _BATCH_POSITIONS:
            yield batch
            batch = []
        batch.append(piece)
    yield batch


def _score(
    loaded: LoadedCheckpoint, batch: list[_Piece], rule: RoutingRule, result: Evaluation
) -> None:
    """Run one batch of windows and add its results to the sums."""
    model = loaded.model
    length = len(batch[0].ids)
    rows = [piece.ids + [0] * (length - len(piece.ids)) for piece in batch]
    ids = torch.tensor(rows, device=model.device)  # (B, S)
    mask = torch.tensor(
        [[1] * len(piece.ids) + [0] * (length - len(piece.ids)) for piece in batch],
        device=model.device,
    )
    output = model(ids, attention_mask=mask, use_cache=False, routing=rule)
    nll = torch.nn.functional.cross_entropy(
        output.logits[:, :-1].flatten(0, 1).float(), ids[:, 1:].flatten(), reduction="none"
    )
    nll = nll.view(len(batch), -1).double().cpu()
    depths = output.recursion_trace.depth().cpu()
    counts = output.recursion_trace.active_counts()
    for row, piece in enumerate(batch):
        scored = slice(piece.first_scored, len(piece.ids))
        result.nll_nats[piece.document] += float(nll[row, scored.start - 1 : scored.stop - 1].sum())
        found = torch.bincount(depths[row, scored], minlength=result.num_recursions + 1)
        first = piece.start + piece.first_scored - 1  # the document start is not scored
        spent = depths[row, scored].tolist()
        result.token_depths[piece.document][first : first + len(spent)] = spent
        result.depths = [old + new for old, new in zip(result.depths, found.tolist(), strict=True)]
        result.active_flops += active_flops(model.config, len(piece.ids), counts[row])
        result.full_depth_flops += dense_flops(model.config, len(piece.ids))
        result.num_positions += len(piece.ids)
    if rule.name == "top_k" and model.config.has_router:
        _add_agreement(output, result)


def _add_agreement(output: MoROutput, result: Evaluation) -> None:
    assert output.recursion_trace is not None
    steps = output.recursion_trace.steps
    result.agreements = result.agreements or [0] * len(steps)
    result.candidates = result.candidates or [0] * len(steps)
    for index, step in enumerate(steps):
        agrees = step.agreements()
        result.agreements[index] += int(agrees.sum())
        result.candidates[index] += len(agrees)
