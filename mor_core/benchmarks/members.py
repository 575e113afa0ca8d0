"""`mor bench members`: decoding and training speed of every checkpoint, measured alternately.

Only these speeds are comparable between members: one process, one machine, the same code, the same text.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mor_core.benchmarks.checkpoint_speeds import DECODING, TRAINING_STEP
from mor_core.benchmarks.harness import Bench, Side
from mor_core.benchmarks.result import Result
from mor_core.benchmarks.workloads import step_side
from mor_core.checkpoints.checkpoint import (
    CheckpointInfo,
    LoadedCheckpoint,
    checkpoint_root,
    list_checkpoints,
    load_checkpoint,
)
from mor_core.checkpoints.tokenizer import DOCUMENT_START_ID, encode_text
from mor_core.evaluation.paired_comparisons import recipe_of
from mor_core.generation.generation import collect_trace, generate_with_trace
from mor_core.generation.samples import written_text
from mor_core.generation.timing_prompt import (
    NEW_TOKENS,
    PROMPT,
    continue_timing_prompt,
    num_written,
)
from mor_core.model.config import MoRConfig
from mor_core.traces.trace import Trace
from mor_core.training.recipe import Recipe

# Rows and passes of a step, as in most recipes: in a smaller step the optimiser would weigh more.
_ROWS, _PASSES = 8, 2
_DECODE_REPEATS = 3  # times the repeats of a training step, which takes ten times as long
_DECODE_NOTE = f"greedy after {PROMPT!r}, reading it included, the trace on; an end of the text does not end it"
_STEP_NOTE = (
    "forward, backward, clipping and the optimiser of the member's recipe, layers not compiled; trained weights, at a "
    "rate of 0, on a text that the first member wrote: what token-choice and experts take depends on both"
)


@dataclass(frozen=True, eq=False)  # hashed by identity, as a dictionary key
class _Member:
    """A checkpoint to measure.

    Attributes:
        loaded: the checkpoint, ready to run.
        recipe: that it was trained with; `None` for a converted checkpoint.
        trace: of its continuation of the timing prompt, which is the same in every timed run.
    """

    loaded: LoadedCheckpoint
    recipe: Recipe | None
    trace: Trace

    @property
    def name(self) -> str:
        return self.loaded.info.name

    @property
    def config(self) -> MoRConfig:
        return self.loaded.model.config

    @property
    def is_plain(self) -> bool:
        """Whether it is a plain Transformer, the peer of the others."""
        config = self.config
        return not config.has_router and config.num_recursions == config.num_experts == 1

    def labelled(self, result: Result, quantity: str, **facts: object) -> Result:
        """Return the result labelled with these weights and the measured quantity."""
        info = self.loaded.info
        label = {"quantity": quantity, "checkpoint": info.name, "checkpoint_sha256": info.sha256}
        return replace(result, extra=result.extra | label | facts)


def run(bench: Bench) -> Iterator[Result]:
    """Measure decoding of all members, then training steps of those with a recipe.

    Raises:
        ValueError: there is no checkpoint.
    """
    root = checkpoint_root()
    bench.planned = 2
    members = [_open(bench, info) for info in list_checkpoints(root)]
    if not members:
        raise ValueError(
            f"there is no valid checkpoint in {root}; train one with: "
            "mor train recipes/stories-mor3-expert.toml"
        )
    yield from _writing(bench, members)
    if bench.seconds_left() > 0:
        yield from _training(bench, members)


def _open(bench: Bench, info: CheckpointInfo) -> _Member:
    bench.report(0.0, f"loading {info.name}")
    loaded = load_checkpoint(info.path, device=bench.device, dtype=getattr(torch, bench.dtype))
    loaded.model.config.eos_token_id = None  # all members must decode the same number of tokens
    return _Member(loaded, recipe_of(info), continue_timing_prompt(loaded))


def _writing(bench: Bench, members: Sequence[_Member]) -> Iterator[Result]:
    sides = {
        member: Side(
            member.name,
            lambda loaded=member.loaded: continue_timing_prompt(loaded),  # type: ignore[misc]
            work=num_written(member.trace),
        )
        for member in members
    }
    results = bench.compare_all(
        f"decode, one stream, {NEW_TOKENS} new tokens",
        list(sides.values()),
        _plain(sides),
        unit="tokens/s",
        repeats=bench.pick(_DECODE_REPEATS, 1) * bench.repeats,
        note=_DECODE_NOTE,
    )
    for member, result in zip(sides, results, strict=bool(results)):
        trace = member.trace
        yield member.labelled(
            result,
            DECODING,
            new_tokens=num_written(trace),
            mean_recursion_depth=trace.mean_recursion_depth,
        )


def _training(bench: Bench, members: Sequence[_Member]) -> Iterator[Result]:
    rows, passes = bench.pick(_ROWS, 1), bench.pick(_PASSES, 1)
    texts = list(_texts(bench, members[0], rows))
    sides = {}
    for member in members:
        if member.recipe is not None:
            # A learning rate of 0 keeps the weights, and thus the routing, the same in every round.
            settings = replace(member.recipe.optimiser, learning_rate=0.0)
            ids = _batch(member, texts).to(bench.device)
            model = member.loaded.model.train()
            sides[member] = step_side(member.name, model, ids, settings, passes=passes)
    if not sides:
        return
    results = bench.compare_all(
        f"training step of {passes} x {rows} rows of the whole context",
        list(sides.values()),
        _plain(sides),
        unit="tokens/s",
        note=_STEP_NOTE,
    )
    for member, result in zip(sides, results, strict=bool(results)):
        assert member.recipe is not None
        yield member.labelled(
            result,
            TRAINING_STEP,
            tokens=int(sides[member].work),
            optimiser=member.recipe.optimiser.name,
        )


def _texts(bench: Bench, member: _Member, count: int) -> Iterator[str]:
    """Generate texts as long as the member's context, as a stand-in for the training text."""
    for seed in range(count):
        bench.report(0.0, f"writing text {seed + 1} of {count} to train on")
        length = member.config.max_position_embeddings
        updates = generate_with_trace(
            member.loaded, PROMPT, max_new_tokens=length, temperature=1.0, seed=seed
        )
        yield PROMPT + written_text(collect_trace(updates))


def _batch(member: _Member, texts: Sequence[str]) -> Tensor:
    """Return the token ids of all texts, repeated if too short: (rows, S), S the member's context."""
    tokens = [
        token
        for text in texts
        for token in (DOCUMENT_START_ID, *encode_text(member.loaded.tokenizer, text))
    ]
    rows, context = len(texts), member.config.max_position_embeddings
    times = rows * context // len(tokens) + 1
    return torch.tensor(tokens).repeat(times)[: rows * context].view(rows, context)


def _plain(sides: Mapping[_Member, Side]) -> Side | None:
    """Return the first plain Transformer's side, `None` if there is none."""
    return next((side for member, side in sides.items() if member.is_plain), None)
