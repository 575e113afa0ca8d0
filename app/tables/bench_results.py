"""The files that `mor bench` leaves, as tables: one row a result, and the growth with the context and the slots.

Knows neither Streamlit nor torch.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from app.tables.result_files import ResultError, damaged
from app.text.words import say
from mor_core.benchmarks.result import BENCH_FOLDER

OF_FAMILY = "members"
"""The benchmark whose speeds the family's file holds; it has no peers of another make."""
GROWING = ("context", "slots")
"""What speed and bytes are drawn against: fields of a result's `extra`."""


_SERVED = ("shape", "num_recursions", "equal_memory", "our_slots", "their_slots")


def read_benchmarks(root: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the documents beside the checkpoints, in the order of their names, and what is wrong with the others."""
    found, problems = [], []
    for path in sorted((root / BENCH_FOLDER).glob("*.json")):
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            results_table([document])
            serving_table(document)
            profile_table(document)
            hardware_lines([document])
            found.append(dict(document))
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            command = f"mor bench {path.stem} --out checkpoints/{BENCH_FOLDER}"
            problems.append(damaged(path.name, error, command))
    return found, problems


def results_table(documents: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return one row a result; `times_as_good` is above 1 where we are faster or smaller than the peer.

    Raises:
        ResultError: a result says neither more nor less is better.
    """
    rows = []
    for document in documents:
        for result in document["results"]:
            if result["better"] not in ("higher", "lower"):
                raise ResultError(say("results.better", value=repr(result["better"])))
            row = {
                "benchmark": document["benchmark"],
                "machine": f"{machine_name(document)}, {document['hardware']['dtype']}",
                **{name: result[name] for name in ("what", "ours", "theirs", "unit", "peer")},
                **{name: result[name] for name in ("ratio", "bound", "aim", "reached", "repeats")},
            }
            for side in ("ours", "theirs"):
                spread = result["spread"].get(side, {})
                row |= {f"{side}_{end}": spread.get(end) for end in ("min", "max", "iqr")}
                row[f"{side}_roofline_share"] = result["roofline_share"].get(side)
            goodness = [
                _goodness(result[name], result["better"]) for name in ("ratio", "bound", "aim")
            ]
            row |= dict(zip(("times_as_good", "bound_times", "aim_times"), goodness, strict=True))
            row |= dict(zip(("times_low", "times_high"), _extremes(result), strict=True))
            rows.append({**row, "note": result["note"]})
    return pd.DataFrame(rows)


def growth_table(documents: Sequence[Mapping[str, Any]], axis: str) -> pd.DataFrame:
    """Return one row a point of what grows along an axis of `GROWING`: speeds and bytes of both sides."""
    rows = []
    for document in documents:
        for result in document["results"]:
            extra = result["extra"]
            if document["benchmark"] == "growth" and axis in extra and result["theirs"]:
                rows.append(
                    {
                        axis: extra[axis],
                        "our_tokens_per_s": result["ours"],
                        "their_tokens_per_s": result["theirs"],
                        "our_kv_bytes": extra.get("our_kv_bytes"),
                        "their_kv_bytes": extra.get("their_kv_bytes"),
                    }
                )
    table = pd.DataFrame(rows)
    return table.sort_values(axis) if len(table) else table


def profile_table(document: Mapping[str, Any]) -> pd.DataFrame:
    """Return one row a run and part of a token's time, in milliseconds; empty for other benchmarks."""
    if document["benchmark"] != "profile":
        return pd.DataFrame()
    names = ("run", "part", "token_ms", "least_token_ms")
    return pd.DataFrame(
        [
            {**{name: result["extra"][name] for name in names}, "ms": result["ours"]}
            for result in document["results"]
        ]
    )


def serving_table(document: Mapping[str, Any]) -> pd.DataFrame:
    """Return one row a point of a full serving benchmark: the ratio with its bound, and the paper's ratio.

    `paper_ratio` is missing where it measured something else: it did 360M, and at fixed slots 32. `published_ratio` is
    what it reports for as many recursions, whatever the shape and the slots.
    """
    rows: list[dict[str, Any]] = []
    if document["benchmark"] == "serve" and not document["settings"]["quick"]:
        for result in document["results"]:
            extra = result["extra"]
            if not result["ratio"]:
                continue
            is_papers = extra["shape"] == "360M" and (
                extra["equal_memory"] or extra["their_slots"] == 32
            )
            low, high = _extremes(result)
            rows.append(
                {
                    **{name: extra[name] for name in _SERVED},
                    **{
                        name: result[name]
                        for name in ("ours", "theirs", "ratio", "bound", "repeats")
                    },
                    "ratio_low": low,
                    "ratio_high": high,
                    "our_roofline_share": result["roofline_share"].get("ours"),
                    "their_roofline_share": result["roofline_share"].get("theirs"),
                    "of_bound": extra.get("of_bound"),
                    "aim_of_bound": extra["aim_of_bound"],
                    "counts": bool(extra.get("counts")),
                    "paper_ratio": extra["paper_ratio"] if is_papers else None,
                    "published_ratio": extra["paper_ratio"],
                }
            )
    table = pd.DataFrame(rows)
    order = ["shape", "num_recursions", "equal_memory", "their_slots"]
    return table.sort_values(order, ignore_index=True) if len(table) else table


def machine_name(document: Mapping[str, Any]) -> str:
    """Name the GPU, or the processor with the widest instructions that it has."""
    machine = document["hardware"]
    name = re.sub(r"\((R|TM)\)| Processor", "", machine["processor"])
    return machine.get("gpu") or " ".join(filter(None, (name, machine.get("instructions"))))


def hardware_lines(documents: Sequence[Mapping[str, Any]]) -> list[str]:
    """Name each machine and type of numbers once, and what it could do at most: from the least to the most measured."""
    limits: dict[str, list[Mapping[str, float]]] = {}
    for document in documents:
        machine = document["hardware"]
        threads = say("bench.threads", count=machine["threads"])
        parts = [machine_name(document), threads, machine["dtype"], f"torch {machine['torch']}"]
        limits.setdefault(" · ".join(parts), []).extend(filter(None, [document["roofline"]]))
    lines = []
    for name, measured in limits.items():
        flops = _range([one["flops_per_s"] / 1e9 for one in measured], ",.0f", "GFLOP/s")
        traffic = _range([one["bytes_per_s"] / 1e9 for one in measured], ",.1f", "GB/s")
        lines.append(" · ".join(filter(None, (name, flops, traffic))))
    return lines


def _range(values: Sequence[float], pattern: str, unit: str) -> str:
    """Write the least and the most of some values, once where they look the same; nothing for none."""
    if not values:
        return ""
    ends = dict.fromkeys(format(value, pattern) for value in (min(values), max(values)))
    return f"{'–'.join(ends)} {unit}"


def _goodness(ratio: float | None, better: str) -> float | None:
    if not ratio:
        return None
    return ratio if better == "higher" else 1 / ratio


def _extremes(result: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Return the worst and the best pair of repeats: each round's ratio, as both sides ran next to each other."""
    samples = [result["spread"].get(side, {}).get("samples", []) for side in ("ours", "theirs")]
    pairs = [a / b for a, b in zip(*samples, strict=False) if b]
    if not pairs:
        return None, None
    times = [_goodness(pair, result["better"]) or 0.0 for pair in pairs]
    return min(times), max(times)
