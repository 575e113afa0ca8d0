"""Turns the files of `mor bench` into tables: results, growth with context and slots, serving, and profile.

Imports neither Streamlit nor torch.
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
"""The benchmark that measures the family's members; it compares with no other implementation."""
GROWTH_AXES = ("context", "slots")
"""The x-axes of the growth charts: fields of a result's `extra`."""
_SERVING_FIELDS = ("shape", "num_recursions", "equal_memory", "our_slots", "their_slots")


def read_benchmarks(root: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the benchmark documents in order of file name, and an error message for each damaged file."""
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
    """Return one row per result; `times_as_good` is above 1 where we are faster or smaller than the peer.

    Raises:
        ResultError: a result's `better` is neither `higher` nor `lower`.
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
            times = [
                _times_as_good(result[name], result["better"]) for name in ("ratio", "bound", "aim")
            ]
            row |= dict(zip(("times_as_good", "bound_times", "aim_times"), times, strict=True))
            row |= dict(zip(("times_low", "times_high"), _extremes(result), strict=True))
            rows.append({**row, "note": result["note"]})
    return pd.DataFrame(rows)


def growth_table(documents: Sequence[Mapping[str, Any]], axis: str) -> pd.DataFrame:
    """Return one row per measured point along an axis of `GROWTH_AXES`: speed and cache bytes of both sides."""
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
    """Return one row per run and part of a token's time, in milliseconds; empty for other benchmarks."""
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
    """Return one row per point of a full (not quick) serving benchmark: the ratio, its bound, and the paper's ratio.

    `paper_ratio` is set only where the point has the paper's settings: shape 360M, and equal memory or 32 slots.
    `published_ratio` is the paper's ratio for the same number of recursions, whatever the shape and the slots.
    """
    rows: list[dict[str, Any]] = []
    if document["benchmark"] == "serve" and not document["settings"]["quick"]:
        for result in document["results"]:
            extra = result["extra"]
            if not result["ratio"]:
                continue
            has_papers_settings = extra["shape"] == "360M" and (
                extra["equal_memory"] or extra["their_slots"] == 32
            )
            low, high = _extremes(result)
            rows.append(
                {
                    **{name: extra[name] for name in _SERVING_FIELDS},
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
                    "paper_ratio": extra["paper_ratio"] if has_papers_settings else None,
                    "published_ratio": extra["paper_ratio"],
                }
            )
    table = pd.DataFrame(rows)
    order = ["shape", "num_recursions", "equal_memory", "their_slots"]
    return table.sort_values(order, ignore_index=True) if len(table) else table


def machine_name(document: Mapping[str, Any]) -> str:
    """Return the GPU's name, or the processor's name with its widest vector instructions."""
    machine = document["hardware"]
    name = re.sub(r"\((R|TM)\)| Processor", "", machine["processor"])
    return machine.get("gpu") or " ".join(filter(None, (name, machine.get("instructions"))))


def hardware_lines(documents: Sequence[Mapping[str, Any]]) -> list[str]:
    """Describe each machine and dtype in one line, with the range of its measured roofline limits."""
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
    """Format the smallest and the largest value, once where both look the same; empty without values."""
    if not values:
        return ""
    ends = dict.fromkeys(format(value, pattern) for value in (min(values), max(values)))
    return f"{'–'.join(ends)} {unit}"


def _times_as_good(ratio: float | None, better: str) -> float | None:
    if not ratio:
        return None
    return ratio if better == "higher" else 1 / ratio


def _extremes(result: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Return the worst and the best round, each as times as good as the peer, which ran next to it in the round."""
    samples = [result["spread"].get(side, {}).get("samples", []) for side in ("ours", "theirs")]
    ratios = [a / b for a, b in zip(*samples, strict=False) if b]
    if not ratios:
        return None, None
    times = [_times_as_good(ratio, result["better"]) or 0.0 for ratio in ratios]
    return min(times), max(times)
