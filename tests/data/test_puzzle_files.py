"""A puzzle corpus: equal bytes each time, held-out puzzles not in the training text, one token per word."""

import pytest

from mor_core.checkpoints.tokenizer import encode_text, load_tokenizer
from mor_core.data.puzzle_files import held_out_puzzles, puzzle_tokenizer, write_puzzles
from mor_core.data.puzzles import PuzzleError, read_puzzle, vocabulary
from mor_core.training.corpus import read_documents


@pytest.fixture(scope="module")
def tokenizer():
    return puzzle_tokenizer()


def write(folder, **changes):
    return write_puzzles(
        folder,
        **({"hops": (1, 2, 3, 4), "num_documents": 60, "num_valid": 20, "seed": 5} | changes),
    )


def test_files_are_the_same_bytes_each_time_and_share_no_puzzle(tmp_path):
    first, second = write(tmp_path / "a"), write(tmp_path / "b")
    for ours, theirs in zip(first[:2], second[:2], strict=True):
        assert ours.read_bytes() == theirs.read_bytes()
    train, valid = map(read_documents, first[:2])
    assert (len(set(train)), len(set(valid))) == (60, 20)
    assert not set(train) & set(valid)
    for text in [*train, *valid]:
        assert read_puzzle(text).text() == text


def test_every_word_is_one_token_and_other_text_survives(tmp_path, tokenizer):
    loaded = load_tokenizer(write(tmp_path)[2])
    assert loaded.get_vocab() == tokenizer.get_vocab()
    ids = [encode_text(tokenizer, word) for word in vocabulary()]
    assert all(len(each) == 1 for each in ids)
    for puzzle in held_out_puzzles((1, 2, 3, 4), 30, seed=0):
        expected = [encode_text(tokenizer, word)[0] for word in puzzle.words()]
        assert encode_text(tokenizer, puzzle.text()) == expected
    assert tokenizer.decode(encode_text(tokenizer, "Zebra ü\n\n")) == "Zebra ü\n\n"


def test_held_out_puzzles_are_not_those_of_a_corpus(tmp_path):
    train, valid = map(read_documents, write(tmp_path, num_documents=500)[:2])
    held_out = {puzzle.text() for puzzle in held_out_puzzles((1, 2, 3, 4), 500, seed=5)}
    assert not held_out & {*train, *valid}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_documents": 0}, "documents must lie between 1 and 10,000,000, got 0"),
        ({"num_valid": 0}, "valid documents must lie"),
        ({"seed": -1}, "seed must not be negative, got -1"),
        ({"hops": (9, 9)}, "at least the sum of the hops, 18"),
    ],
)
def test_numbers_out_of_range_are_refused(tmp_path, changes, message):
    with pytest.raises(PuzzleError, match=message):
        write(tmp_path / "new", **changes)
