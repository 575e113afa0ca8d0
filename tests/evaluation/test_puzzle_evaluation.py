"""Scores on puzzles: held against one question at a time, by hand-made models, and by numpy."""

import dataclasses

import numpy as np
import pytest
import torch

from mor_core.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from mor_core.data.puzzle_files import held_out_puzzles, puzzle_tokenizer
from mor_core.evaluation import puzzle_evaluation
from mor_core.evaluation.puzzle_evaluation import (
    encode_puzzles,
    evaluate_puzzles,
    exit_shares,
    node_names,
    rank_correlation,
    score_puzzles,
)
from mor_core.model.accounting import active_flops, dense_flops
from mor_core.model.routing_rules import RoutingRule
from tests.models import TOKEN_CHOICE, tiny_model

SHAPE = {
    "num_prelude_layers": 0,
    "num_layers_per_recursion": 1,
    "num_recursions": 4,
    "num_coda_layers": 0,
    "kv_strategy": "shared",
}
HOPS = (1, 2, 3, 4)


@pytest.fixture(scope="module")
def tokenizer():
    return puzzle_tokenizer()


@pytest.fixture(scope="module")
def loaded(tokenizer, tmp_path_factory):
    model = tiny_model(vocab_size=len(tokenizer), max_position_embeddings=24, **SHAPE)
    folder = tmp_path_factory.mktemp("puzzles") / "puzzles-tiny"
    save_checkpoint(folder, model, tokenizer)
    return load_checkpoint(folder)


def test_scores_are_those_of_each_question_alone(loaded):
    puzzles = held_out_puzzles(HOPS, 12, seed=1)
    batch = encode_puzzles(loaded, puzzles)
    scores = score_puzzles(loaded.model, batch, RoutingRule.causal())
    config = loaded.model.config
    for row, puzzle in enumerate(puzzles):
        ids = batch.ids[row : row + 1]
        with torch.no_grad():
            whole = loaded.model(ids, use_cache=False)
        shares = []
        for column, question in enumerate(puzzle.questions):
            position = 1 + len(puzzle.facts) + 3 + 2 * column
            assert loaded.tokenizer.decode([int(ids[0, position])]) == f" {question.name}?"
            with torch.no_grad():  # causal: what stands before decides
                alone = loaded.model(ids[:, : position + 1], use_cache=False)
            said = loaded.tokenizer.decode([int(alone.logits[0, -1].argmax())])
            assert scores.right[row, column] == (said == f" {question.answer}")
            assert scores.depths[row, column] == int(alone.recursion_trace.depth()[0, -1])
            assert scores.hops[row, column] == question.hops
            shares.append(position)
        depths = whole.recursion_trace.depth()[0].tolist()
        others = [
            depth for position, depth in enumerate(depths) if position and position not in shares
        ]
        assert scores.other_depths[row] == pytest.approx(np.mean(others))
        counts = [sum(depth > index for depth in depths) for index in range(4)]
        expected = active_flops(config, 24, counts) / dense_flops(config, 24)
        assert scores.flops_shares[row] == pytest.approx(expected)


def test_own_answers_stand_in_the_text_of_later_questions(loaded):
    batch = encode_puzzles(loaded, held_out_puzzles(HOPS, 8, seed=2))
    rule = RoutingRule.fixed(4)
    own = score_puzzles(loaded.model, batch, rule, own_answers=True)
    ids = batch.ids.clone()
    for column in range(4):
        positions = torch.from_numpy(batch.positions[:, column])
        with torch.no_grad():
            said = loaded.model(ids, use_cache=False, routing=rule).logits.argmax(-1)
        rows = torch.arange(len(ids))
        expected = said[rows, positions] == batch.ids[rows, positions + 1]
        assert own.right[:, column].tolist() == expected.tolist()
        ids[rows, positions + 1] = said[rows, positions]


def test_a_model_that_knows_the_answers_scores_one_and_names_its_nodes(loaded):
    """The pointer of a made-up lens: after recursion r it says the node after r steps, at the end the answer."""
    batch = encode_puzzles(loaded, held_out_puzzles(HOPS, 5, seed=3))
    names = node_names(loaded)
    known = {names(token): token for token in range(len(loaded.tokenizer)) if names(token)}
    exits = [torch.zeros(*batch.ids.shape, len(loaded.tokenizer)) for _ in range(4)]
    for row, puzzle in enumerate(batch.puzzles):
        for position, question in zip(batch.positions[row], puzzle.questions, strict=True):
            for index, logits in enumerate(exits):
                node = question.chain[min(index + 1, question.hops)]
                logits[row, position, known[node]] = 9.0
    exits[1][0, batch.positions[0, 0], known[batch.puzzles[0].questions[0].name]] = (
        99.0  # one is wrong
    )
    wrong = batch.puzzles[0].questions[0].hops
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(puzzle_evaluation, "early_exit_logits", lambda *_: (exits, None))
        found = exit_shares(loaded.model, batch, names)
    assert len(found) == 16
    for row in found:
        is_hit = (row["hops"], row["recursion"]) == (wrong, 2)
        assert row["share"] == pytest.approx(0.8 if is_hit else 1.0)
        assert row["num_questions"] == 5


def test_names_of_nodes_are_questions_and_digits_alone(loaded):
    names = node_names(loaded)
    vocabulary = loaded.tokenizer.get_vocab()
    said = {names(token) for token in vocabulary.values()}
    assert {*"abcdefghijklmnop", *"0123456789"} <= said
    for text, node in ((" n?", "n"), (" 6", "6"), (" n=e", None), ("Given", None), ("\n", None)):
        (token,) = loaded.tokenizer.encode(text, add_special_tokens=False)
        assert names(token) == node


@pytest.mark.parametrize("seed", range(5))
def test_rank_correlation_is_spearmans(seed):
    generator = np.random.default_rng(seed)
    one, two = generator.integers(1, 5, 40), generator.integers(1, 5, 40)

    def mean_rank(values):
        return np.array(
            [(values < value).sum() + ((values == value).sum() - 1) / 2 for value in values]
        )

    expected = np.corrcoef(mean_rank(one), mean_rank(two))[0, 1]
    assert rank_correlation(one, two) == pytest.approx(expected)
    assert rank_correlation(one, one) == pytest.approx(1)
    assert rank_correlation(one, np.ones(40, dtype=np.int64)) is None


def test_an_evaluation_holds_every_rule_mix_and_number_of_facts(loaded):
    said = []
    found = evaluate_puzzles(loaded, said.append, num_puzzles=20)
    names = [(row["routing"]["name"], row["routing"].get("max_depth")) for row in found["rules"]]
    assert names[:3] == [("causal", None), ("causal", None), ("top_k", None)]
    assert [row["own_answers"] for row in found["rules"][:3]] == [False, True, False]
    assert names.count(("fixed", None)) == 8
    assert {("causal", depth) for depth in (1, 2, 3)} <= set(names)
    assert names.count(("random", None)) == 2
    for row in found["rules"]:
        assert [each["hops"] for each in row["by_hops"]] == [1, 2, 3, 4]
        assert all(abs(sum(each["depth_shares"]) - 1) < 1e-9 for each in row["by_hops"])
        low, high = row["accuracy_interval"]
        assert low <= row["accuracy"] <= high
    fixed = [row for row in found["rules"] if row["routing"]["name"] == "fixed"]
    assert [row["active_flops_share"] for row in fixed][3] == pytest.approx(1)
    assert [row["num_recursions"] for row in found["five_hops"]] == [4, 5]
    assert [row["num_facts"] for row in found["by_facts"]] == list(range(4, 13))
    assert len(found["early_exits"]) == 16
    assert said


def test_a_model_that_chooses_once_is_not_asked_what_it_cannot(tokenizer, loaded):
    shape = SHAPE | TOKEN_CHOICE
    model = tiny_model(vocab_size=len(tokenizer), max_position_embeddings=24, **shape).eval()
    found = evaluate_puzzles(
        dataclasses.replace(loaded, model=model), lambda _: None, num_puzzles=10
    )
    assert "top_k" not in {row["routing"]["name"] for row in found["rules"]}
    assert [row["num_recursions"] for row in found["five_hops"]] == [4]


def test_a_checkpoint_that_does_not_read_puzzles_is_refused(tiny_loaded):
    with pytest.raises(ValueError, match="one token for each word of a puzzle"):
        evaluate_puzzles(tiny_loaded, lambda _: None, num_puzzles=2)
