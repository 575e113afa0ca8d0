"""Puzzles: generated puzzles solve correctly, typed puzzles are parsed, and invalid text is refused with a reason."""

import itertools

import numpy as np
import pytest

from mor_core.data.puzzles import (
    DIGITS,
    LETTERS,
    Puzzle,
    PuzzleError,
    Question,
    make_puzzle,
    read_puzzle,
    vocabulary,
)

SHAPES = [
    ((1, 2, 3, 4), 12),
    ((2, 2, 4, 4), 12),
    ((4,), 12),
    ((1, 2, 4, 5), 12),
    ((1, 3), 4),
    ((5,), 5),
]


def puzzles(count, hops=(1, 2, 3, 4), num_facts=12, seed=0):
    generator = np.random.default_rng(seed)
    return [make_puzzle(generator, hops, num_facts) for _ in range(count)]


@pytest.mark.parametrize(("hops", "num_facts"), SHAPES)
def test_every_question_needs_its_hops_and_no_chain_touches_another(hops, num_facts):
    for puzzle in puzzles(50, hops, num_facts):
        facts = dict(puzzle.facts)
        assert len(facts) == len(puzzle.facts) == num_facts
        assert sorted(question.hops for question in puzzle.questions) == sorted(hops)
        for question in puzzle.questions:
            at = question.name
            for expected in question.chain[1:]:
                at = facts[at]
                assert at == expected
            assert at in DIGITS
        nodes = [node for question in puzzle.questions for node in question.chain]
        assert len(nodes) == len(set(nodes))


def test_a_training_puzzle_has_24_tokens_with_the_document_start():
    (puzzle,) = puzzles(1)
    assert len(puzzle.words()) + 1 == 24
    assert set(puzzle.words()) <= set(vocabulary())
    for index, question in zip(puzzle.question_indices(), puzzle.questions, strict=True):
        assert puzzle.words()[index : index + 2] == [f" {question.name}?", f" {question.answer}"]


def test_a_generated_puzzle_is_parsed_and_solved_with_or_without_answers():
    for puzzle in puzzles(100):
        assert read_puzzle(puzzle.text()) == puzzle
        unanswered = (
            puzzle.text().split("Ask")[0]
            + "Ask "
            + " ".join(f"{q.name}?" for q in puzzle.questions)
        )
        assert read_puzzle(unanswered) == puzzle


def test_wrong_answers_in_the_text_are_ignored():
    puzzle = read_puzzle("Given n=e e=c c=6\nAsk n? 3")
    assert puzzle.questions == (Question(("n", "e", "c", "6")),)
    assert puzzle.questions[0].hops == 3
    assert puzzle.text() == "Given n=e e=c c=6\nAsk n? 6"
    assert puzzle.text(answers=False) == "Given n=e e=c c=6\nAsk n?"


def test_distractors_end_in_a_chain_or_in_an_unused_digit():
    ends = set()
    for puzzle in puzzles(200):
        chain_nodes = {node for question in puzzle.questions for node in question.chain}
        for letter, target in puzzle.facts:
            if letter not in chain_nodes:
                ends.add(target in chain_nodes)
                assert target in chain_nodes or target in DIGITS or target in dict(puzzle.facts)
    assert ends == {True, False}


def test_letters_digits_and_positions_are_drawn_uniformly():
    found = puzzles(2000)
    firsts = np.array([LETTERS.index(puzzle.facts[0][0]) for puzzle in found])
    counts = np.bincount(firsts, minlength=len(LETTERS))
    assert counts.min() > 0.6 * len(found) / len(LETTERS)
    orders = {tuple(question.hops for question in puzzle.questions) for puzzle in found}
    assert orders == set(itertools.permutations((1, 2, 3, 4)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the first word must be \"Given\", got ''"),
        ("Once upon a time", "got 'Once'"),
        ("Given n=e e=6", '"Ask" is missing'),
        ("Given n=z Ask n?", "letters go from a to p, got 'n=z'"),
        ("Given n=e e=6 Ask q?", "letters go from a to p, got 'q?'"),
        ("Given n==6 Ask n?", "a fact reads like"),
        ("Given n=e e=6 Ask n", "a question reads like"),
        ("Given n=e e=6 n=4 Ask n?", "two facts for n"),
        ("Given n=e Ask n?", 'no fact says what e is; add "e=..."'),
        ("Given n=e e=n Ask n?", "n -> e -> n runs in a circle"),
        ("Given n=n Ask n?", "n -> n runs in a circle"),
        ("Given n=6 Ask", "ask 1 to 8 questions, got 0"),
        ("Given n=6 Ask" + " n?" * 9, "ask 1 to 8 questions, got 9"),
        ("Given " + "n" * 50 + " Ask n?", "nnnnnnnnnnnnnnnnnnnn..."),
        ("Given n=6 Ask n? " + "x" * 3000, "at most 2,000 characters, got 3,017"),
    ],
)
def test_invalid_text_is_refused_with_the_word_and_the_rule(text, message):
    with pytest.raises(PuzzleError) as refused:
        read_puzzle(text)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("hops", "num_facts", "message"),
    [
        ((), 12, "1 to 8 questions, got 0"),
        ((0, 1), 12, "at least 1 each, got 0"),
        ((4, 4, 4, 4), 12, "at least the sum of the hops, 16"),
        ((1,), 17, "at most the 16 letters, got 17"),
    ],
)
def test_impossible_shapes_are_refused(hops, num_facts, message):
    with pytest.raises(PuzzleError, match=message):
        make_puzzle(np.random.default_rng(0), hops, num_facts)


def test_the_same_seed_makes_the_same_puzzles():
    assert puzzles(5, seed=3) == puzzles(5, seed=3)
    assert puzzles(5, seed=3) != puzzles(5, seed=4)
    assert isinstance(puzzles(1)[0], Puzzle)
