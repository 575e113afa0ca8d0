"""Writes puzzles as a training corpus: training text, held-out text, and a tokenizer with one token per puzzle word."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from transformers import PreTrainedTokenizerFast

from mor_core.checkpoints.tokenizer import DOCUMENT_START, save_tokenizer, train_tokenizer
from mor_core.data.puzzles import NUM_FACTS, Puzzle, PuzzleError, make_puzzle, vocabulary

TRAIN_FILE, VALID_FILE, TOKENIZER_FOLDER = "puzzles-train.txt", "puzzles-valid.txt", "tokenizer"
_PIECES = r" ?[^\s]+|\n+|\s+"
"""Pre-tokenizer pattern: a word with its leading space is one piece, so that " n=e" becomes one token."""
_MAX_DOCUMENTS = 10_000_000


def write_puzzles(
    folder: Path,
    *,
    hops: Sequence[int],
    num_documents: int,
    num_valid: int,
    seed: int,
    num_facts: int = NUM_FACTS,
) -> list[Path]:
    """Write the files of a puzzle corpus; equal arguments give equal bytes.

    Args:
        folder: destination; it is created if missing, and existing files are replaced.
        hops: hops of each question; every puzzle has one question per entry.
        num_documents: number of training puzzles.
        num_valid: number of held-out puzzles, none of which is a training puzzle.
        seed: seed of the training and held-out puzzles.
        num_facts: facts in every puzzle.

    Returns:
        Training text, held-out text, tokenizer folder.

    Raises:
        PuzzleError: a number is out of range.
    """
    for name, count in (("documents", num_documents), ("valid documents", num_valid)):
        if not 1 <= count <= _MAX_DOCUMENTS:
            raise PuzzleError(f"{name} must lie between 1 and {_MAX_DOCUMENTS:,}, got {count}")
    if seed < 0:
        raise PuzzleError(f"seed must not be negative, got {seed}")
    folder.mkdir(parents=True, exist_ok=True)
    seen = _write(folder / TRAIN_FILE, [seed, 0], hops, num_facts, num_documents, set())
    _write(folder / VALID_FILE, [seed, 1], hops, num_facts, num_valid, seen)
    save_tokenizer(puzzle_tokenizer(), folder / TOKENIZER_FOLDER)
    return [folder / name for name in (TRAIN_FILE, VALID_FILE, TOKENIZER_FOLDER)]


def puzzle_tokenizer(context_length: int = 1024) -> PreTrainedTokenizerFast:
    """Return a byte-level tokenizer with one token per puzzle word; other text is encoded as bytes."""
    return train_tokenizer(["".join(vocabulary())] * 3, None, context_length, pieces=_PIECES)


def held_out_puzzles(
    hops: Sequence[int], count: int, seed: int, num_facts: int = NUM_FACTS
) -> list[Puzzle]:
    """Return puzzles for an evaluation; their random stream differs from that of every corpus."""
    generator = np.random.default_rng([seed, 2])
    return [make_puzzle(generator, hops, num_facts) for _ in range(count)]


def _write(
    path: Path,
    seed: Sequence[int],
    hops: Sequence[int],
    num_facts: int,
    count: int,
    excluded: set[str],
) -> set[str]:
    """Write distinct puzzles, none of which is in `excluded`; return their texts."""
    generator = np.random.default_rng(seed)
    written: set[str] = set()
    draft = path.with_name(f".{path.name}.draft")
    with draft.open("w", encoding="utf-8", newline="\n") as file:
        while len(written) < count:
            text = make_puzzle(generator, hops, num_facts).text()
            if text in excluded or text in written:
                continue
            written.add(text)
            file.write(f"{text}\n{DOCUMENT_START}\n")
    draft.replace(path)
    return written
