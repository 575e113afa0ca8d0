"""Aligns the tokens of two runs, even if their tokenizers split the text differently.

A piece ends wherever a token ends in both runs. Runs with the same tokenizer are therefore aligned token by token,
other runs by short spans of text. Positions in the text are counted in bytes, because one tokenizer may split a
character into byte tokens that the other keeps whole. Only the text that both runs share from the beginning is aligned.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mor_core.traces.trace import TokenRecord


@dataclass(frozen=True)
class Piece:
    """The same bytes in two runs, as half-open ranges of positions; a special token may stand in one run alone."""

    first: range
    second: range


@dataclass(frozen=True)
class Alignment:
    """The common beginning of two runs.

    Attributes:
        pieces: in order, without gaps, from the first token of each run.
        rest: for each run, the first position that is not aligned; the run's length if all of it is aligned.
        diverges: True if the texts differ at `rest`; False if one run only ends sooner.
    """

    pieces: tuple[Piece, ...]
    rest: tuple[int, int]
    diverges: bool

    @property
    def is_by_position(self) -> bool:
        """Whether every piece is one token at the same position in both runs."""
        return all(piece.first == piece.second and len(piece.first) == 1 for piece in self.pieces)


def align(first: Sequence[TokenRecord], second: Sequence[TokenRecord]) -> Alignment:
    """Align two runs from their beginning to where their texts diverge."""
    texts = [_bytes_of(first), _bytes_of(second)]
    pieces: list[Piece] = []
    at = [0, 0]
    is_start = True
    while at[0] < len(first) and at[1] < len(second):
        piece, differs = _next_piece(texts, at, is_start=is_start)
        if piece is None:
            return Alignment(tuple(pieces), (at[0], at[1]), differs)
        is_start = is_start and all(first[index].special for index in piece.first)
        pieces.append(piece)
        at = [piece.first.stop, piece.second.stop]
    return Alignment(tuple(pieces), (at[0], at[1]), diverges=False)


def _next_piece(
    texts: list[list[bytes | None]], at: list[int], *, is_start: bool
) -> tuple[Piece | None, bool]:
    """Return the piece that begins at two positions; without one, `None` and whether the texts differ there."""
    ends = list(at)
    heads = [text[index] for text, index in zip(texts, at, strict=True)]
    if None in heads:
        takes = [head is None for head in heads]
        if not all(takes) and not is_start:
            return None, True
        ends = [end + take for end, take in zip(ends, takes, strict=True)]
        return _piece(at, ends), False
    read = [b"", b""]
    while True:
        behind = 0 if len(read[0]) <= len(read[1]) else 1
        if ends[behind] == len(texts[behind]):
            return None, False
        token = texts[behind][ends[behind]]
        if token is None:
            return None, True
        read[behind] += token
        ends[behind] += 1
        shared = min(map(len, read))
        if read[0][:shared] != read[1][:shared]:
            return None, True
        if len(read[0]) == len(read[1]) and ends[0] > at[0] and ends[1] > at[1]:
            return _piece(at, ends), False


def _bytes_of(tokens: Sequence[TokenRecord]) -> list[bytes | None]:
    """Return each token's bytes; `None` for a special token, which stands for no text."""
    return [None if token.special else bytes.fromhex(token.token_bytes) for token in tokens]


def _piece(starts: list[int], ends: list[int]) -> Piece:
    return Piece(range(starts[0], ends[0]), range(starts[1], ends[1]))
