"""Evaluates a checkpoint on puzzles: accuracy, recursion depth at the questions, and FLOPs, by routing rule.

A puzzle tells which depth is right: a question of k hops needs k lookups. Confidence intervals resample whole puzzles,
since the questions of one puzzle share its facts.

Shapes: N puzzles, S tokens, Q questions of a puzzle, R recursions.
"""

import contextlib
import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mor_core.checkpoints.checkpoint import LoadedCheckpoint
from mor_core.checkpoints.tokenizer import DOCUMENT_START_ID, encode_text
from mor_core.checkpoints.variants import with_recursions
from mor_core.common.progress import Report
from mor_core.data.puzzle_files import held_out_puzzles
from mor_core.data.puzzles import DIGITS, NUM_FACTS, TRAINED_HOPS, Puzzle
from mor_core.evaluation.bootstrap import ratio_interval
from mor_core.generation.logit_lens import early_exit_logits
from mor_core.model.accounting import active_flops, dense_flops
from mor_core.model.model import MoRForCausalLM
from mor_core.model.routing_rules import Gate, RoutingRule

NUM_PUZZLES = 2000
NUM_RANDOM_SEEDS = 20
SEED = 0
UNTRAINED_MIXES = ((1, 2, 3), (4,), (1, 1, 1, 4), (2, 2, 4, 4), (3, 3, 3), (1, 1, 2, 2))
"""Hops of puzzles that are not in the training data, with the trained vocabulary and number of facts."""
FIVE_HOPS = (1, 2, 4, 5)
FACT_HOPS = (1, 3)
"""Hops of the puzzles with 4 to 12 facts."""
_BATCH = 500

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class PuzzleBatch:
    """Puzzles with equal numbers of facts and questions, as tokens.

    Attributes:
        puzzles: the N puzzles.
        ids: (N, S) token ids: the document start, then the puzzle with its correct answers.
        positions: (N, Q) positions of the questions in `ids`.
        hops: (N, Q) hops of the questions.
    """

    puzzles: Sequence[Puzzle]
    ids: Tensor
    positions: NDArray[np.int64]
    hops: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.puzzles)

    def parts(self, size: int = _BATCH) -> list["PuzzleBatch"]:
        """Split into batches that fit in memory."""
        return [
            PuzzleBatch(self.puzzles[cut], self.ids[cut], self.positions[cut], self.hops[cut])
            for cut in (slice(start, start + size) for start in range(0, len(self), size))
        ]


@dataclass(frozen=True)
class PuzzleScores:
    """A model's answers and depths on the questions of N puzzles.

    Attributes:
        hops: (N, Q) hops of the questions.
        right: (N, Q) whether the most probable next token is the answer.
        depths: (N, Q) recursion depth at the questions.
        other_depths: (N,) mean depth at the other tokens, without the document start.
        flops_shares: (N,) active FLOPs divided by the FLOPs at full depth.
    """

    hops: NDArray[np.int64]
    right: Mask
    depths: NDArray[np.int64]
    other_depths: NDArray[np.float64]
    flops_shares: NDArray[np.float64]

    @classmethod
    def joined(cls, parts: Sequence["PuzzleScores"]) -> "PuzzleScores":
        """Concatenate the scores of several batches."""
        names = [entry.name for entry in dataclasses.fields(cls)]
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def as_dict(self, num_recursions: int) -> dict[str, Any]:
        """Return accuracy and depth by hops, with 95% intervals over puzzles, and the share of FLOPs."""
        rows = []
        for hops in sorted(set(self.hops.flatten().tolist())):
            selected = self.hops == hops
            rows.append(
                {
                    "hops": hops,
                    "num_questions": int(selected.sum()),
                    **_share("accuracy", self.right & selected, selected),
                    "depth_shares": [
                        float((self.depths[selected] == depth).mean())
                        for depth in range(num_recursions + 1)
                    ],
                    "mean_depth": float(self.depths[selected].mean()),
                }
            )
        return {
            "num_puzzles": len(self.hops),
            "by_hops": rows,
            **_share("accuracy", self.right, np.ones_like(self.right)),
            "depth_hops_rank_correlation": rank_correlation(self.depths, self.hops),
            "mean_depth_elsewhere": float(self.other_depths.mean()),
            "active_flops_share": float(self.flops_shares.mean()),
        }


def reads_puzzles(loaded: LoadedCheckpoint) -> bool:
    """Whether a checkpoint's tokenizer has one token for each word of a puzzle."""
    try:
        encode_puzzles(loaded, held_out_puzzles((1,), 1, SEED, 1))
    except ValueError:
        return False
    return True


def encode_puzzles(loaded: LoadedCheckpoint, puzzles: Sequence[Puzzle]) -> PuzzleBatch:
    """Return puzzles with equal numbers of facts and questions as tokens.

    Raises:
        ValueError: a word is not one token of this checkpoint's tokenizer, or a puzzle is longer than its context.
    """
    limit = loaded.model.config.max_position_embeddings
    rows = []
    for puzzle in puzzles:
        ids = [DOCUMENT_START_ID, *encode_text(loaded.tokenizer, puzzle.text())]
        if len(ids) != len(puzzle.words()) + 1:
            raise ValueError(
                f"{loaded.info.name} must have one token for each word of a puzzle, got {len(ids) - 1} tokens for "
                f"{len(puzzle.words())} words; take a checkpoint that was trained on puzzles"
            )
        if len(ids) > limit:
            raise ValueError(
                f"a puzzle must have at most the context's {limit} tokens, got {len(ids)}; take fewer facts or hops"
            )
        rows.append(ids)
    return PuzzleBatch(
        puzzles,
        torch.tensor(rows, device=loaded.model.device),
        np.array([[index + 1 for index in puzzle.question_indices()] for puzzle in puzzles]),
        np.array([[question.hops for question in puzzle.questions] for puzzle in puzzles]),
    )


@torch.inference_mode()
def score_puzzles(
    model: MoRForCausalLM, batch: PuzzleBatch, rule: RoutingRule, *, own_answers: bool = False
) -> PuzzleScores:
    """Answer the questions of a batch under one rule.

    Args:
        model: in evaluation mode.
        batch: the puzzles.
        rule: the routing rule.
        own_answers: whether the context of a later question holds the model's own answers; otherwise it holds the
            correct ones, as in training.
    """
    return PuzzleScores.joined(
        [_score_part(model, part, rule, own_answers=own_answers) for part in batch.parts()]
    )


def _score_part(
    model: MoRForCausalLM, batch: PuzzleBatch, rule: RoutingRule, *, own_answers: bool
) -> PuzzleScores:
    config, length = model.config, batch.ids.shape[1]
    ids = batch.ids.clone()
    if own_answers:  # the questions have the same positions in all rows
        for position in batch.positions[0].tolist():
            logits = model(
                ids[:, : position + 1], use_cache=False, routing=rule, logits_to_keep=1
            ).logits
            ids[:, position + 1] = logits[:, -1].argmax(-1)
    output = model(ids, use_cache=False, routing=rule)
    predicted = output.logits.argmax(-1)  # (N, S)
    depths = output.recursion_trace.depth().cpu().numpy()
    positions = torch.from_numpy(batch.positions).to(ids.device)
    right = predicted.gather(1, positions) == batch.ids.gather(1, positions + 1)
    counts = output.recursion_trace.active_counts()
    excluded = np.zeros(depths.shape, dtype=bool)
    np.put_along_axis(excluded, batch.positions, True, axis=1)
    excluded[:, 0] = True
    full = dense_flops(config, length)
    return PuzzleScores(
        hops=batch.hops,
        right=right.cpu().numpy(),
        depths=np.take_along_axis(depths, batch.positions, axis=1),
        other_depths=np.ma.masked_array(depths, excluded).mean(axis=1).filled(0.0),
        flops_shares=np.array([active_flops(config, length, row) / full for row in counts]),
    )


@torch.inference_mode()
def exit_shares(
    model: MoRForCausalLM, batch: PuzzleBatch, names: "NodeNames"
) -> list[dict[str, Any]]:
    """Return, by hops and recursion r, how often the early exit after r names the r-th node of the question's chain.

    An early exit names a node if its most probable token is the question about that letter, or that digit. Beyond
    the end of the chain, the correct node is the answer.
    """
    rows: dict[tuple[int, int], list[bool]] = {}
    for part in batch.parts():
        exits, _ = early_exit_logits(model, part.ids, RoutingRule.causal())
        positions = torch.from_numpy(part.positions).to(part.ids.device)
        for index, logits in enumerate(exits):
            predicted = logits.argmax(-1).gather(1, positions).tolist()  # (N, Q)
            for puzzle, row in zip(part.puzzles, predicted, strict=True):
                for question, token in zip(puzzle.questions, row, strict=True):
                    node = question.chain[min(index + 1, question.hops)]
                    rows.setdefault((question.hops, index + 1), []).append(names(token) == node)
    return [
        {
            "hops": hops,
            "recursion": recursion,
            "num_questions": len(named),
            "share": float(np.mean(named)),
        }
        for (hops, recursion), named in sorted(rows.items())
    ]


NodeNames = Callable[[int], str | None]


def node_names(loaded: LoadedCheckpoint) -> NodeNames:
    """Return a function from a token id to the node that it names: `e` for " e?", `6` for " 6", else `None`."""
    named: dict[int, str] = {}

    def name(token_id: int) -> str | None:
        if token_id not in named:
            named[token_id] = str(loaded.tokenizer.decode([token_id])).strip().rstrip("?")
        text = named[token_id]
        return text if len(text) == 1 and (text.isalpha() or text in DIGITS) else None

    return name


def evaluate_puzzles(
    loaded: LoadedCheckpoint, say: Report, *, num_puzzles: int = NUM_PUZZLES, seed: int = SEED
) -> dict[str, Any]:
    """Return all published results of a checkpoint on puzzles, as plain data.

    Args:
        loaded: a checkpoint that was trained on puzzles.
        say: receives progress messages.
        num_puzzles: number of held-out puzzles of each kind.
        seed: seed of the held-out puzzles.

    Raises:
        ValueError: the checkpoint's tokenizer does not have one token for each word of a puzzle.
    """
    model, config = loaded.model, loaded.model.config
    batch = encode_puzzles(loaded, held_out_puzzles(TRAINED_HOPS, num_puzzles, seed))
    found: dict[str, Any] = {
        "checkpoint_sha256": loaded.info.sha256,
        "hops": list(TRAINED_HOPS),
        "num_facts": NUM_FACTS,
        "seed": seed,
        "num_puzzles": num_puzzles,
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": model.device.type,
        "full_depth_flops": dense_flops(config, batch.ids.shape[1]),
        "rules": _under_every_rule(loaded, batch, say),
    }
    say("puzzles: mixes of hops that are not in the training data, 5 hops, 4 to 12 facts")
    found["untrained_mixes"] = [
        {
            "hops": list(hops),
            "routing": rule.describe(config),
            **_on(loaded, hops, NUM_FACTS, rule, num_puzzles, seed),
        }
        for hops in UNTRAINED_MIXES
        for rule in (RoutingRule.causal(), RoutingRule.top_k())
        if rule.fits(config)
    ]
    found["five_hops"] = _five_hops(loaded, num_puzzles, seed)
    found["by_facts"] = [
        {
            "num_facts": count,
            **_on(loaded, FACT_HOPS, count, RoutingRule.causal(), num_puzzles, seed),
        }
        for count in range(sum(FACT_HOPS), NUM_FACTS + 1)
    ]
    if config.num_recursions > 1:
        say("puzzles: early exits")
        found["early_exits"] = exit_shares(model, batch, node_names(loaded))
    return found


def _under_every_rule(
    loaded: LoadedCheckpoint, batch: PuzzleBatch, say: Report
) -> list[dict[str, Any]]:
    """Return the scores under each rule, and for the model's own rule also with its own answers in the context."""
    config, results = loaded.model.config, []
    for rule in puzzle_rules(loaded):
        say(f"puzzles: {json.dumps(rule.describe(config))}")
        for own_answers in (False, True) if rule == RoutingRule.causal() else (False,):
            scores = _scores_of(loaded.model, batch, rule, own_answers=own_answers)
            results.append(
                {
                    "routing": rule.describe(config),
                    "own_answers": own_answers,
                    **scores.as_dict(config.num_recursions),
                }
            )
    return results


def puzzle_lines(found: dict[str, Any]) -> list[str]:
    """Return an evaluation as lines of text: accuracy and mean depth by hops under each rule."""
    hops = [row["hops"] for row in found["rules"][0]["by_hops"]]
    lines = [
        f"{found['num_puzzles']:,} held-out puzzles, {found['num_facts']} facts; accuracy (mean depth) by hops",
        f"{'rule':28}" + "".join(f"{f'{count} hops':>15}" for count in hops) + f"{'FLOPs':>8}",
    ]
    for result in found["rules"]:
        routing = result["routing"]
        parts = [routing["name"], routing.get("depth"), routing.get("gate")]
        if routing.get("max_depth"):
            parts.append(f"at most {routing['max_depth']}")
        if result["own_answers"]:
            parts.append("own answers")
        name = " ".join(str(part) for part in parts if part)
        cells = [f"{row['accuracy']:.3f} ({row['mean_depth']:.2f})" for row in result["by_hops"]]
        cells_text = "".join(f"{cell:>15}" for cell in cells)
        lines.append(f"{name:28}{cells_text}{result['active_flops_share']:>8.1%}")
    return lines


def puzzle_rules(loaded: LoadedCheckpoint) -> list[RoutingRule]:
    """Return the rules of a puzzle evaluation: the model's own first, then all others that fit the model."""
    depths = range(1, loaded.model.config.num_recursions + 1)
    gates: tuple[Gate, ...] = ("learned", "open")
    rules = [
        RoutingRule.causal(),
        RoutingRule.top_k(),
        *(RoutingRule.fixed(depth, gate) for gate in gates for depth in depths),
        *(RoutingRule.causal().capped(depth) for depth in depths[:-1]),
        *(RoutingRule.random(gate=gate) for gate in gates),
    ]
    return [rule for rule in rules if rule.fits(loaded.model.config)]


def _scores_of(
    model: MoRForCausalLM, batch: PuzzleBatch, rule: RoutingRule, *, own_answers: bool
) -> PuzzleScores:
    """Score a batch; random routing uses another seed for each part, so that the result averages over draws."""
    if rule.name != "random":
        return score_puzzles(model, batch, rule, own_answers=own_answers)
    parts = batch.parts(max(1, len(batch) // NUM_RANDOM_SEEDS))
    return PuzzleScores.joined(
        [
            score_puzzles(model, part, dataclasses.replace(rule, seed=number))
            for number, part in enumerate(parts)
        ]
    )


def _on(
    loaded: LoadedCheckpoint,
    hops: Sequence[int],
    num_facts: int,
    rule: RoutingRule,
    count: int,
    seed: int,
) -> dict[str, Any]:
    batch = encode_puzzles(loaded, held_out_puzzles(hops, count, seed, num_facts))
    return score_puzzles(loaded.model, batch, rule).as_dict(loaded.model.config.num_recursions)


def _five_hops(loaded: LoadedCheckpoint, count: int, seed: int) -> list[dict[str, Any]]:
    """Return the scores on puzzles with a 5-hop question: with the trained recursions, and with one more."""
    results = []
    variants = [loaded]
    # A router that assigns the depth once has no logit for an additional recursion.
    with contextlib.suppress(ValueError):
        variants.append(with_recursions(loaded, loaded.model.config.num_recursions + 1))
    for variant in variants:
        found = _on(variant, FIVE_HOPS, NUM_FACTS, RoutingRule.causal(), count, seed)
        results.append({"num_recursions": variant.model.config.num_recursions, **found})
    return results


def rank_correlation(first: NDArray[np.int64], second: NDArray[np.int64]) -> float | None:
    """Return Spearman's rank correlation with mean ranks for ties; `None` if one of them is constant."""
    one, two = _ranks(first.flatten()), _ranks(second.flatten())
    if np.ptp(one) == 0 or np.ptp(two) == 0:
        return None
    return float(np.corrcoef(one, two)[0, 1])


def _ranks(values: NDArray[np.int64]) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return ((ends - counts + ends - 1) / 2)[inverse]  # type: ignore[no-any-return]


def _share(name: str, hits: Mask, selected: Mask) -> dict[str, Any]:
    """Return the share of the selected questions that are hits, with its 95% interval over puzzles."""
    numerators, denominators = hits.sum(axis=1), selected.sum(axis=1)
    return {
        name: float(numerators.sum() / denominators.sum()),
        f"{name}_interval": ratio_interval(numerators.tolist(), denominators.tolist()),
    }
