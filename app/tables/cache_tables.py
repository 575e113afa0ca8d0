"""Tables of a run's KV cache: the tokens that each layer of each recursion keeps, and the bytes after each call.

Pure: everything is read from the trace. With recursive KV sharing, deeper recursions have no slots of their own and
read those of recursion 1.
"""

from collections import Counter
from dataclasses import dataclass

import pandas as pd

from app.tables.trace_tables import label
from mor_core.traces.trace import TokenRecord, Trace, TraceHeader

ABSENT, OWN, SHARED = LEVELS = "absent", "own", "shared"


@dataclass(frozen=True)
class LayerRow:
    """One layer of one recursion, or of prelude or coda.

    Attributes:
        label: short name for an axis.
        recursion: 1-based, `None` outside the shared block.
        slot: index of the cache slot that it reads.
        is_shared: whether an earlier recursion wrote that slot.
    """

    label: str
    recursion: int | None
    slot: int
    is_shared: bool


def layer_rows(header: TraceHeader) -> list[LayerRow]:
    """Return every layer of every recursion with the slot that it reads, in the order of the slots."""
    slots = list(enumerate(header.cache_slots))
    if header.kv_strategy == "recursion_wise" or header.num_recursions == 1:
        return [LayerRow(slot.label, slot.recursion, number, False) for number, slot in slots]
    shared = [(number, slot) for number, slot in slots if slot.stage == "shared"]
    rows = [LayerRow(s.label, None, n, False) for n, s in slots if s.stage == "prelude"]
    for recursion in range(1, header.num_recursions + 1):
        rows += [
            LayerRow(f"R{recursion} L{slot.layer}", recursion, number, recursion > 1)
            for number, slot in shared
        ]
    return rows + [LayerRow(s.label, None, n, False) for n, s in slots if s.stage == "coda"]


def level(token: TokenRecord, row: LayerRow) -> str | None:
    """Return `ABSENT`, `OWN` or `SHARED` for a token in a layer's cache; `None` if the token was not computed."""
    if token.recursion_depth is None:
        return None
    if row.slot not in token.cached_slots:
        return ABSENT
    return SHARED if row.is_shared else OWN


def occupancy_table(trace: Trace) -> pd.DataFrame:
    """Return one row per token: the number of layers that keep it, and the recursions where it is absent."""
    rows = layer_rows(trace.header)
    found = []
    for token in trace.tokens:
        levels = [level(token, row) for row in rows]
        absent = sorted(
            {
                row.recursion
                for row, what in zip(rows, levels, strict=True)
                if what == ABSENT and row.recursion
            }
        )
        is_known = token.recursion_depth is not None
        found.append(
            {
                "position": token.position,
                "token": label(token),
                "recursion_depth": token.recursion_depth,
                "own": levels.count(OWN) if is_known else None,
                "shared": levels.count(SHARED) if is_known else None,
                "absent": levels.count(ABSENT) if is_known else None,
                "absent_at_recursions": ", ".join(map(str, absent)),
            }
        )
    counts = dict.fromkeys(("recursion_depth", "own", "shared", "absent"), "Int64")
    return pd.DataFrame(found).astype(counts)


def kept_shares(trace: Trace) -> list[float]:
    """Return the share of computed tokens that took recursion 1, 2, ... R; special tokens count, as they are cached."""
    counts = recursion_counts(trace)
    total = sum(token.recursion_depth is not None for token in trace.tokens)
    return [count / total if total else 0.0 for count in counts]


def recursion_counts(trace: Trace) -> list[int]:
    """Return how many tokens, special ones included, took recursion 1, 2, ... R."""
    depths = [token.recursion_depth or 0 for token in trace.tokens]
    return [
        sum(depth >= number for depth in depths)
        for number in range(1, trace.header.num_recursions + 1)
    ]


def often_absent(trace: Trace, most: int = 10) -> pd.DataFrame:
    """Return the tokens that are most often absent from the last recursion's cache, and how often they occur."""
    last = trace.header.num_recursions
    content = [
        token for token in trace.tokens if not token.special and token.recursion_depth is not None
    ]
    occurs = Counter(label(token) for token in content)
    absent = Counter(label(token) for token in content if (token.recursion_depth or 0) < last)
    rows = [
        {"token": token, "absent_from_last_recursion": count, "occurs": occurs[token]}
        for token, count in absent.most_common(most)
    ]
    return pd.DataFrame(rows, columns=["token", "absent_from_last_recursion", "occurs"])


def growth_table(trace: Trace) -> pd.DataFrame:
    """Return one row per call of the model: tokens processed so far and the measured bytes by recursion.

    Empty for a text that was split into windows, each with its own cache. `kv_bytes_plain` is counted, not measured:
    the cache of a plain Transformer with the same unrolled depth. `kv_bytes_outside` is the cache of prelude and coda.
    """
    header = trace.header
    recursions = sorted({slot.recursion for slot in header.cache_slots if slot.recursion})
    columns = [
        "num_tokens",
        "phase",
        "kv_bytes",
        "kv_bytes_outside",
        *(f"kv_bytes_r{number}" for number in recursions),
        "kv_bytes_plain",
    ]
    if header.windows:
        return pd.DataFrame(columns=columns)
    total = sum(step.num_tokens for step in trace.steps)
    plain = header.vanilla_kv_bytes / total if total else 0.0
    rows = []
    for step in trace.steps:
        done = step.first_position + step.num_tokens
        by_recursion: dict[int, int] = {}
        for slot, size in zip(header.cache_slots, step.cache_bytes, strict=True):
            by_recursion[slot.recursion or 0] = by_recursion.get(slot.recursion or 0, 0) + size
        rows.append(
            {
                "num_tokens": done,
                "phase": step.phase,
                "kv_bytes": sum(step.cache_bytes),
                "kv_bytes_outside": by_recursion.get(0, 0),
                **{f"kv_bytes_r{number}": by_recursion.get(number, 0) for number in recursions},
                "kv_bytes_plain": round(plain * done),
            }
        )
    return pd.DataFrame(rows, columns=columns)
