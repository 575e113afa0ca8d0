"""Two runs side by side: by hand, and for texts cut at random into bytes."""

import itertools
import random
from collections.abc import Sequence

import pytest

from mor_core.traces.alignment import Piece, align
from mor_core.traces.trace import TokenRecord
from tests.loops import thinned

BOS = "<|endoftext|>"


def tokens(*parts: str | bytes) -> list[TokenRecord]:
    """Tokens that spell these parts; `BOS` is the special one."""
    records = []
    for position, part in enumerate(parts):
        spelled = part.encode() if isinstance(part, str) else part
        special = part == BOS
        records.append(
            TokenRecord(
                position=position,
                token_id=0,
                text=spelled.decode(errors="replace"),
                token_bytes="" if special else spelled.hex(),
                special=special,
                phase="prefill",
                recursion_depth=1,
                router_logits=[],
                router_scores=[],
                cached_slots=[],
            )
        )
    return records


def pieces(first: Sequence[TokenRecord], second: Sequence[TokenRecord]) -> list[tuple[str, str]]:
    """What the pieces hold, tokens separated by |."""
    return [
        tuple("|".join(t.text for t in run[part.start : part.stop]) for run, part in pairs)
        for pairs in (
            [(first, piece.first), (second, piece.second)] for piece in align(first, second).pieces
        )
    ]


def test_one_tokenizer_is_aligned_token_by_token() -> None:
    run = tokens(BOS, "The", " cat", " sat")
    found = align(run, run)
    assert found.pieces == tuple(Piece(range(i, i + 1), range(i, i + 1)) for i in range(4))
    assert found.is_by_position
    assert (found.rest, found.diverges) == ((4, 4), False)


def test_generated_runs_are_aligned_until_they_say_different_things() -> None:
    first, second = tokens(BOS, "The", " cat", " sat"), tokens(BOS, "The", " dog", " sat")
    found = align(first, second)
    assert len(found.pieces) == 2
    assert (found.rest, found.diverges) == ((2, 2), True)


def test_a_run_that_only_ends_sooner_does_not_diverge() -> None:
    found = align(tokens("a", "b"), tokens("a", "b", "c"))
    assert (found.rest, found.diverges) == ((2, 2), False)
    cut = align(tokens("a", "b"), tokens("a", "bcd"))
    assert (cut.rest, cut.diverges) == ((1, 1), False), "the longer token is not finished here"


def test_an_end_of_the_text_is_not_more_text() -> None:
    found = align(tokens("a", BOS), tokens("a", " b"))
    assert (found.rest, found.diverges) == ((1, 1), True)
    assert align(tokens("a", BOS), tokens("a", BOS)).rest == (2, 2)


def test_other_tokenizers_are_merged_at_common_ends() -> None:
    first = tokens("un", "believ", "able", " cats")
    second = tokens("unbel", "iev", "able", " ca", "ts")
    assert pieces(first, second) == [
        ("un|believ", "unbel|iev"),
        ("able", "able"),
        (" cats", " ca|ts"),
    ]
    assert not align(first, second).is_by_position


def test_byte_tokens_that_split_a_character_are_merged_where_the_other_keeps_it_whole() -> None:
    euro = "€".encode()
    whole, split = tokens("5", "€", "!"), tokens("5", euro[:1], euro[1:], "!")
    assert [(len(p.first), len(p.second)) for p in align(whole, split).pieces] == [
        (1, 1),
        (1, 2),
        (1, 1),
    ]
    other = tokens("5", euro[:2], euro[2:], "!")
    assert [(len(p.first), len(p.second)) for p in align(split, other).pieces] == [
        (1, 1),
        (2, 2),
        (1, 1),
    ]
    assert len(align(split, split).pieces) == 4, "the same byte tokens are compared one by one"


def test_characters_that_begin_with_the_same_byte_are_different_text() -> None:
    found = align(tokens("caf", "é"), tokens("caf", "è"))
    assert (found.rest, found.diverges) == ((1, 1), True)


def test_a_start_token_of_one_tokenizer_alone_is_a_piece_of_its_own() -> None:
    found = align(tokens(BOS, "a", "b"), tokens("ab"))
    assert found.pieces == (Piece(range(1), range(0)), Piece(range(1, 3), range(1)))
    assert not found.diverges


@pytest.mark.parametrize("runs", [([], []), (["a"], []), ([], ["a"])])
def test_empty_runs(runs: tuple[list[str], list[str]]) -> None:
    found = align(tokens(*runs[0]), tokens(*runs[1]))
    assert (found.pieces, found.rest, found.diverges) == ((), (0, 0), False)


def cut(text: bytes, generator: random.Random) -> list[TokenRecord]:
    places = sorted(generator.sample(range(1, len(text)), generator.randrange(len(text))))
    edges = [0, *places, len(text)]
    return tokens(BOS, *(text[a:b] for a, b in itertools.pairwise(edges)))


@pytest.mark.parametrize("seed", thinned(range(200), every=20))
def test_any_two_cuts_of_one_text_share_exactly_their_common_ends(seed: int) -> None:
    generator = random.Random(seed)
    text = "".join(generator.choices("ab é€🦊", k=generator.randrange(1, 20))).encode()
    if len(text) < 2:
        text += b"x"
    runs = [cut(text, generator), cut(text, generator)]
    found = align(*runs)

    def ends(run: list[TokenRecord]) -> list[int]:
        lengths = [len(bytes.fromhex(token.token_bytes)) for token in run]
        return [sum(lengths[: i + 1]) for i in range(len(run))]

    common = set(ends(runs[0])) & set(ends(runs[1]))
    assert [ends(runs[0])[p.first.stop - 1] for p in found.pieces] == sorted(common)
    assert [ends(runs[1])[p.second.stop - 1] for p in found.pieces] == sorted(common)
    assert found.rest == (len(runs[0]), len(runs[1]))
    assert not found.diverges


@pytest.mark.parametrize("seed", thinned(range(100), every=10))
def test_what_is_aligned_spells_the_same(seed: int) -> None:
    generator = random.Random(seed)
    runs = [cut(bytes(generator.choices(b"ab", k=12)), generator) for _ in range(2)]
    found = align(*runs)
    ends = [0, 0]
    for piece in found.pieces:
        assert (piece.first.start, piece.second.start) == tuple(ends), "no gap"
        spelled = [
            "".join(token.token_bytes for token in run[part.start : part.stop])
            for run, part in zip(runs, (piece.first, piece.second), strict=True)
        ]
        assert spelled[0] == spelled[1]
        ends = [piece.first.stop, piece.second.stop]
    assert found.rest == tuple(ends)
    whole = ["".join(token.token_bytes for token in run) for run in runs]
    assert found.diverges == (whole[0] != whole[1])
