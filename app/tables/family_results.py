"""Tables from the family file (`family.json`, all evaluated checkpoints), and the paper's published results.

Imports neither Streamlit nor torch.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import nan
from pathlib import Path
from typing import Any

import pandas as pd

from app.tables.result_files import ResultError, damaged
from mor_core.evaluation.paper_results import MAIN_TABLE, THROUGHPUT
from mor_core.model.router_types import router_traits

FAMILY_FILE = "family.json"
KV_DTYPE = "bfloat16"
EQUAL_COMPUTE = 0.02  # two runs have equal FLOPs if these differ by less than this share
SPEEDS = {
    # column: name in the file
    "training_tokens_per_s": "training_step",
    "decode_tokens_per_s": "decoding",
}


def read_family(root: Path) -> dict[str, Any]:
    """Return the content of the family file; empty if there is none.

    Raises:
        ResultError: the file is damaged.
    """
    path = root / FAMILY_FILE
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        members_table(found)
        for column in SPEEDS:
            speed_conditions(found, column)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise ResultError(damaged(FAMILY_FILE, error, "mor family")) from error
    return dict(found)


def members_table(family: Mapping[str, Any]) -> pd.DataFrame:
    """Return one row per checkpoint: quality under its own routing rule, cost of training, and cost of inference."""
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
                **_speeds(member),
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


def _speeds(member: Mapping[str, Any]) -> dict[str, float]:
    """Return a member's measured speeds, each with its slowest and fastest round; NaN where not measured."""
    found: dict[str, float] = {}
    for column, name in SPEEDS.items():
        measured = member.get(name) or {"tokens_per_s": nan, "spread": [nan, nan]}
        values = (measured["tokens_per_s"], *measured["spread"])
        found |= dict(zip((column, f"{column}_low", f"{column}_high"), values, strict=True))
    return found


def speed_conditions(family: Mapping[str, Any], column: str) -> dict[str, Any]:
    """Return how a column's speeds were measured, which is the same for all members; empty if none was measured."""
    measured = [member.get(SPEEDS[column]) for member in family["members"]]
    for one in filter(None, measured):
        how = one["conditions"]
        shown = {name: how[name] for name in ("threads", "dtype", "repeats")}
        return {**shown, "machine": how["processor"], "date": how["measured"][:10]}
    return {}


def rules_table(family: Mapping[str, Any], name: str) -> pd.DataFrame:
    """Return one row per other routing rule: its loss minus that of the member's own rule, in nats, with interval."""
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
    """Return one row per threshold of a member's sweep; empty without a sweep."""
    return points_table(_member(family, name).get("threshold_sweep", []))


def points_table(points: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return one row per point of a `threshold_sweep`."""
    return pd.DataFrame(
        [
            {key: value for key, value in point.items() if key != "nll_interval"}
            | {"nll_low": point["nll_interval"][0], "nll_high": point["nll_interval"][1]}
            for point in points
        ]
    )


def reference_of(family: Mapping[str, Any]) -> int:
    """Return the index of the default reference member: the first plain Transformer, else the first member."""
    plain = [index for index, member in enumerate(family["members"]) if is_plain(member)]
    return plain[0] if plain else 0


def differences_table(family: Mapping[str, Any], reference: str) -> pd.DataFrame:
    """Return one row per member: its loss minus the reference's on the same documents, in nats, lowest first."""
    rows = []
    for pair in family.get("differences", []):
        if reference not in pair["names"]:
            continue
        sign = 1 if pair["names"][0] == reference else -1
        name = pair["names"][1 if sign == 1 else 0]
        low, high = sorted(sign * bound for bound in pair["interval"])
        more = sign * pair["more_nats_per_token"]
        rows.append({"name": name, "more_nats": more, "low": low, "high": high})
    table = pd.DataFrame(rows, columns=["name", "more_nats", "low", "high"])
    return table.sort_values("more_nats", ignore_index=True)


def difference(family: Mapping[str, Any], reference: str, name: str) -> pd.DataFrame:
    """Return one member's row of `differences_table`; empty if the two are not compared."""
    table = differences_table(family, reference)
    return table[table["name"] == name]


def is_plain(member: Mapping[str, Any]) -> bool:
    """Whether a member is a plain Transformer: no router, one recursion, one feed-forward per layer."""
    model = member["model"]
    has_router = router_traits(model).has_router
    return not has_router and model["num_recursions"] == model["num_experts"] == 1


def at_equal_compute(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether two members were trained with equal FLOPs, within `EQUAL_COMPUTE`."""
    flops = [member["training"]["active_flops"] for member in (first, second)]
    return bool(abs(flops[0] / flops[1] - 1) < EQUAL_COMPUTE)


def control_of(family: Mapping[str, Any], name: str) -> str | None:
    """Return the control of a member with a trained router: the same model with random routing, at equal compute."""
    member = _member(family, name)
    is_control = member["model"]["router_control"] != "none"
    if is_control or not router_traits(member["model"]).has_router:
        return None
    for other in family["members"]:
        is_random = other["model"]["router_control"] != "none"
        is_same = {**other["model"], "router_control": "none"} == member["model"]
        if is_random and is_same and at_equal_compute(member, other):
            return str(other["name"])
    return None


def verdicts(table: pd.DataFrame, gap: float | None) -> list[str]:
    """Return for each row whether the member is `better` or `worse` than the reference, or whether that is `open`.

    It is open where the sampling of documents (the interval) or the seed (the gap between two) could reverse the order.
    Without a second seed every row is open.
    """
    found = []
    for row in table.to_dict("records"):
        beyond_chance = row["low"] > 0 or row["high"] < 0
        if gap is None or not beyond_chance or abs(row["more_nats"]) <= gap:
            found.append("open")
        else:
            found.append("better" if row["more_nats"] < 0 else "worse")
    return found


def seeds_table(pair: Mapping[str, Any]) -> pd.DataFrame:
    """Return the mean depth of each class of tokens under two seeds of one recipe."""
    means = pair["classes"]["mean_depths"]
    first, second = pair["names"]
    return pd.DataFrame(
        [
            {"token_class": name, first: depths[0], second: depths[1]}
            for name, depths in means.items()
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
    """Return the names of the members with a threshold sweep."""
    return [member["name"] for member in family["members"] if member.get("threshold_sweep")]


def _member(family: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(m for m in family["members"] if m["name"] == name)
    return found
