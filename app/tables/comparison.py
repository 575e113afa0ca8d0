"""Compares two runs on the text that they share: the depth that each spends on it, and how well each predicts it.

Pure: traces in, tables out. A difference is always B minus A. A piece that only one run computed or scored is left out
of both sides.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import pandas as pd

from app.tables.depth_scale import Scale, shared_scale
from app.tables.trace_tables import label
from mor_core.traces.alignment import Alignment, align
from mor_core.traces.trace import TokenRecord, Trace

Side = Literal[0, 1]
SIDES: tuple[Side, Side] = (0, 1)
Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Comparison:
    """Two aligned runs.

    Attributes:
        runs: A and B.
        alignment: of their texts.
        scale: scale of depth, the same for both.
        pieces: for each aligned piece, the tokens of A and those of B.
        differences: B minus A for each piece, in the scale's unit; `None` where a depth is unknown or a side is empty.
    """

    runs: tuple[Trace, Trace]
    alignment: Alignment
    scale: Scale
    pieces: list[tuple[list[TokenRecord], list[TokenRecord]]]
    differences: list[int | None]

    def spent(self, side: Side, tokens: Sequence[TokenRecord]) -> int | None:
        """Return the total depth of tokens in the scale's unit; `None` without tokens or if one is not computed."""
        depths = [token.recursion_depth for token in tokens]
        known = [self.scale.values[side][depth] for depth in depths if depth is not None]
        return sum(known) if depths and len(known) == len(depths) else None

    @property
    def content(self) -> list[int]:
        """Indices of the pieces without special tokens whose depth is known in both runs."""
        return [
            index
            for index, pair in enumerate(self.pieces)
            if self.differences[index] is not None
            and not any(token.special for tokens in pair for token in tokens)
        ]

    @property
    def has_rest(self) -> bool:
        """Whether a run continues after the shared text."""
        return any(
            start < len(run.tokens)
            for start, run in zip(self.alignment.rest, self.runs, strict=True)
        )


@dataclass(frozen=True)
class Figure:
    """One number of each run.

    Attributes:
        name: key in the words, such as `bits_per_byte`.
        values: the values of A and B; `None` where unknown.
        n: size of the sample of A and of B.
        n_of: the unit that `n` counts.
    """

    name: str
    values: tuple[float | None, float | None]
    n: tuple[int, int]
    n_of: Literal["tokens", "bytes"] = "tokens"

    @property
    def difference(self) -> float | None:
        """B minus A."""
        first, second = self.values
        return None if first is None or second is None else second - first


def compare(first: Trace, second: Trace) -> Comparison:
    """Align two runs and compute their differences."""
    alignment = align(first.tokens, second.tokens)
    scale = shared_scale(first.header.config, second.header.config)
    pieces = [
        (
            first.tokens[piece.first.start : piece.first.stop],
            second.tokens[piece.second.start : piece.second.stop],
        )
        for piece in alignment.pieces
    ]
    result = Comparison((first, second), alignment, scale, pieces, [])
    for ours, theirs in pieces:
        spent = result.spent(0, ours), result.spent(1, theirs)
        known = spent[0] is not None and spent[1] is not None
        result.differences.append(spent[1] - spent[0] if known else None)  # type: ignore[operator]
    return result


def shared_figures(comparison: Comparison) -> list[Figure]:
    """Return the figures of the text that both runs share."""
    content = [comparison.pieces[index] for index in comparison.content]
    n = _pair(sum(len(pair[side]) for pair in content) for side in SIDES)
    figures = [Figure("tokens", n, n)]
    if content:
        spent = [sum(comparison.spent(side, pair[side]) or 0 for pair in content) for side in SIDES]
        means = _pair(total / count for total, count in zip(spent, n, strict=True))
        figures.append(Figure(f"mean_{comparison.scale.unit}", means, n))
    return figures + _costs(comparison) + _predictions(content)


def run_figures(comparison: Comparison) -> list[Figure]:
    """Return the figures of each complete run; the texts may differ."""
    totals: dict[str, list[float]] = {"mean": [], "flops_per_token": [], "kv_per_token": []}
    computed = [
        [token for token in run.tokens if token.recursion_depth is not None]
        for run in comparison.runs
    ]
    content = [[token for token in tokens if not token.special] for tokens in computed]
    if not all(content):
        return []
    for side, run in zip(SIDES, comparison.runs, strict=True):
        count = len(computed[side])
        totals["mean"].append((comparison.spent(side, content[side]) or 0) / len(content[side]))
        totals["flops_per_token"].append(sum(step.active_flops for step in run.steps) / count)
        totals["kv_per_token"].append(_kv_bytes(run, computed[side]) / count)
    n, n_content = _pair(map(len, computed)), _pair(map(len, content))
    return [
        Figure("run_tokens", _pair(len(run.tokens) for run in comparison.runs), n),
        Figure(f"mean_{comparison.scale.unit}", _pair(totals["mean"]), n_content),
        Figure("flops_per_token", _pair(totals["flops_per_token"]), n),
        Figure("kv_per_token", _pair(totals["kv_per_token"]), n),
    ]


def piece_table(comparison: Comparison) -> pd.DataFrame:
    """Return one row per piece of the shared text."""
    rows = []
    for (ours, theirs), difference in zip(comparison.pieces, comparison.differences, strict=True):
        bits = [_bits(tokens) for tokens in (ours, theirs)]
        rows.append(
            {
                "position_a": ours[0].position if ours else None,
                "tokens_a": " ".join(map(label, ours)),
                "tokens_b": " ".join(map(label, theirs)),
                f"{comparison.scale.unit}_a": comparison.spent(0, ours),
                f"{comparison.scale.unit}_b": comparison.spent(1, theirs),
                "difference": difference,
                "surprise_bits_a": bits[0],
                "surprise_bits_b": bits[1],
                "surprise_difference": (
                    None if bits[0] is None or bits[1] is None else bits[1] - bits[0]
                ),
                "special": any(token.special for token in (*ours, *theirs)),
            }
        )
    integers = ["position_a", "difference", *(f"{comparison.scale.unit}_{run}" for run in "ab")]
    columns = ["position_a", "tokens_a", "tokens_b", *integers[2:], "difference"]
    columns += ["surprise_bits_a", "surprise_bits_b", "surprise_difference", "special"]
    table = pd.DataFrame(rows, columns=columns)
    return table.astype(
        dict.fromkeys(integers, "Int64")
        | dict.fromkeys([name for name in columns if name.startswith("surprise")], "float64")
    )


def _costs(comparison: Comparison) -> list[Figure]:
    """Count FLOPs and cache bytes of the longest shared text at whose end a call of each model ends."""
    ends = [
        {step.first_position + step.num_tokens for step in run.steps} for run in comparison.runs
    ]
    for piece in reversed(comparison.alignment.pieces):
        stops = piece.first.stop, piece.second.stop
        if all(stop in found for stop, found in zip(stops, ends, strict=True)):
            break
    else:
        return []
    flops, sizes = [], []
    for run, stop in zip(comparison.runs, stops, strict=True):
        steps = [step for step in run.steps if step.first_position + step.num_tokens <= stop]
        flops.append(sum(step.active_flops for step in steps))
        sizes.append(_kv_bytes(run, run.tokens[:stop]))
    return [Figure("flops", _pair(flops), stops), Figure("kv", _pair(sizes), stops)]


def _predictions(
    content: Sequence[tuple[list[TokenRecord], list[TokenRecord]]],
) -> list[Figure]:
    """Return how well each model predicts the shared text, over the pieces that both scored."""
    scored = [(pair, _bits(pair[0]), _bits(pair[1])) for pair in content]
    pairs = [(pair, a, b) for pair, a, b in scored if a is not None and b is not None]
    if not pairs:
        return []
    num_bytes = sum(len(token.token_bytes) // 2 for pair, _, _ in pairs for token in pair[0])
    totals = [sum(a for _, a, _ in pairs), sum(b for _, _, b in pairs)]
    n = len(pairs), len(pairs)
    figures = []
    if all(len(pair[0]) == len(pair[1]) == 1 for pair, _, _ in pairs):
        nats = _pair(-total * math.log(2) / len(pairs) for total in totals)
        figures.append(Figure("log_probability", nats, n))
    per_byte = _pair(total / max(num_bytes, 1) for total in totals)
    figures.append(Figure("bits_per_byte", per_byte, (num_bytes, num_bytes), "bytes"))
    wins = sum(a < b for _, a, b in pairs), sum(b < a for _, a, b in pairs)
    return [*figures, Figure("better", wins, n)]


def _bits(tokens: Sequence[TokenRecord]) -> float | None:
    """Return the total surprisal of tokens under their own model, in bits; `None` if one was not scored."""
    known = [token.log_probability for token in tokens if token.log_probability is not None]
    return -sum(known) / math.log(2) if tokens and len(known) == len(tokens) else None


def _kv_bytes(run: Trace, tokens: Sequence[TokenRecord]) -> int:
    return run.header.kv_bytes_per_entry * sum(len(token.cached_slots) for token in tokens)


def _pair(values: Iterable[Number]) -> tuple[Number, Number]:
    first, second = values
    return first, second
