"""The family's file as tables: one row a checkpoint, one row a threshold, the paper's rows beside them.

Knows neither Streamlit nor torch.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from app.results import ResultError
from mor_core.paper_results import MAIN_TABLE, THROUGHPUT

FAMILY_FILE = "family.json"
KV_DTYPE = "bfloat16"


def read_family(root: Path) -> dict[str, Any]:
    """Return the family's file, nothing if there is none.

    Raises:
        ResultError: the file is damaged.
    """
    path = root / FAMILY_FILE
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        members_table(found)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise ResultError(
            f"{FAMILY_FILE} is damaged ({type(error).__name__}: {error}); write it again with: mor family"
        ) from error
    return dict(found)


def members_table(family: Mapping[str, Any]) -> pd.DataFrame:
    """Return one row a checkpoint: what it cost, what it is worth under its own rule, what it costs to run."""
    rows = []
    for member in family["members"]:
        own, training, model = member["results"][0], member["training"], member["model"]
        tasks = member.get("tasks", {})
        rows.append(
            {
                "name": member["name"],
                "title": member["title"],
                "seed": member["seed"],
                "bits_per_byte": own["bits_per_byte"],
                "bits_per_byte_low": own["bits_per_byte_interval"][0],
                "bits_per_byte_high": own["bits_per_byte_interval"][1],
                "nll_nats_per_token": own["nll_nats_per_token"],
                "mean_depth": own["mean_recursion_depth"],
                "tokens": training["tokens"],
                "training_flops": training["active_flops"],
                "executed_flops": training["executed_flops"],
                "training_tokens_per_s": training["tokens_per_s"],
                "training_wall_s": training["wall_s"],
                "peak_memory_bytes": training["peak_memory_bytes"],
                "parameters": model["parameters"],
                "active_flops_per_token": own["active_flops_per_token"],
                "kv_bytes_per_token": member["kv_bytes_per_token"][KV_DTYPE]["own"],
                **{f"{name}_accuracy": task["accuracy"] for name, task in tasks.items()},
                "sha8": member["sha256"][:8],
            }
        )
    return pd.DataFrame(rows)


def rules_table(family: Mapping[str, Any], name: str) -> pd.DataFrame:
    """Return one row a routing rule of a member: the nats it loses against the member's own, with interval."""
    member = _member(family, name)
    rows = []
    for result in member["results"][1:]:
        routing, more = result["routing"], result["more_nats_than_own_rule"]
        depth = f":{routing['depth']}" if routing.get("depth") else ""
        rows.append(
            {
                "routing": f"{routing['name']}{depth}",
                "gate": routing["gate"],
                "more_nats": more["nll_nats_per_token"],
                "more_nats_low": more["interval"][0],
                "more_nats_high": more["interval"][1],
                "mean_depth": result["mean_recursion_depth"],
                "active_flops_per_token": result["active_flops_per_token"],
            }
        )
    return pd.DataFrame(rows)


def sweep_table(family: Mapping[str, Any], name: str) -> pd.DataFrame:
    """Return one row a threshold; none for a model without."""
    return points_table(_member(family, name).get("threshold_sweep", []))


def points_table(points: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return the points of a `threshold_sweep` as rows."""
    return pd.DataFrame(
        [
            {key: value for key, value in point.items() if key != "nll_interval"}
            | {"nll_low": point["nll_interval"][0], "nll_high": point["nll_interval"][1]}
            for point in points
        ]
    )


def paper_table() -> pd.DataFrame:
    """Return the paper's published results."""
    return pd.DataFrame([asdict(result) for result in MAIN_TABLE])


def paper_throughput_table() -> pd.DataFrame:
    """Return the paper's published speed-ups over its plain Transformer."""
    rows = [
        {"recursions": recursions, "at_batch_32": fixed, "at_equal_memory": largest}
        for recursions, (fixed, largest) in THROUGHPUT.items()
    ]
    return pd.DataFrame(rows)


def seed_gap(family: Mapping[str, Any]) -> float | None:
    """Return the largest gap in nats between two seeds of one recipe, `None` where no recipe has two."""
    return max((pair["gap"] for pair in family.get("seeds", [])), default=None)


def with_sweep(family: Mapping[str, Any]) -> Sequence[str]:
    """Return the names of the members that a threshold was swept for."""
    return [member["name"] for member in family["members"] if member.get("threshold_sweep")]


def _member(family: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(m for m in family["members"] if m["name"] == name)
    return found
