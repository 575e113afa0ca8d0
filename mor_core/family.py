"""The checkpoints side by side in checkpoints/family.json: what each cost, what it is worth, what it costs to run.

Read from the folders' own papers; nothing is computed anew but closed forms of their configurations.
"""

import json
import statistics
import tomllib
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from mor_core.accounting import kv_bytes_per_entry, parameter_count, vanilla_config
from mor_core.checkpoint import CheckpointError, CheckpointInfo, list_checkpoints, read_config
from mor_core.config import MoRConfig
from mor_core.depth_statistics import rank_correlation
from mor_core.schedule import layer_schedule, num_cache_slots

FAMILY_FILE = "family.json"
BYTES_PER_NUMBER = {"bfloat16": 2, "float32": 4}
_OF_EVALUATION = ("threshold_sweep", "router", "depths", "tasks")


def write_family(root: Path) -> Path:
    """Write the family's file beside the checkpoints and return its path.

    Raises:
        CheckpointError: a checkpoint has no evaluation, or one of other weights.
    """
    members = [describe_member(info) for info in list_checkpoints(root)]
    found = {"members": members, "seeds": compare_seeds(list_checkpoints(root))}
    path = root / FAMILY_FILE
    path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def describe_member(info: CheckpointInfo) -> dict[str, Any]:
    """Return what a checkpoint's papers say that can be compared.

    Raises:
        CheckpointError: it has no evaluation, or one of other weights.
    """
    evaluation, provenance = info.evaluation, info.provenance
    if evaluation.get("checkpoint_sha256") != info.sha256:
        raise CheckpointError(
            f"{info.name} has no evaluation of these weights; write it with: mor report --checkpoint {info.name}"
        )
    config = read_config(info.path)
    results = [
        {name: value for name, value in result.items() if name != "document_nll_nats"}
        for result in evaluation["results"]
    ]
    return {
        "name": info.name,
        "title": provenance["title"],
        "sha256": info.sha256,
        "seed": provenance["seed"],
        "model": _model(config),
        "training": _training(info),
        "text": evaluation["text"],
        "results": results,
        "kv_bytes_per_token": _kv_bytes_per_token(config, results[0]),
        **{name: evaluation[name] for name in _OF_EVALUATION if name in evaluation},
    }


def compare_seeds(checkpoints: Sequence[CheckpointInfo]) -> list[dict[str, Any]]:
    """Compare every two checkpoints that differ in nothing but the seed.

    `token_types` says whether the same words go deep in both: Spearman's rank correlation of the mean depth of token
    types that are frequent in the held-out text. `classes` are mean depths, and whether both runs order each pair of
    classes alike.
    """
    found = []
    for first, second in combinations(checkpoints, 2):
        if _recipe_without_seed(first) != _recipe_without_seed(second):
            continue
        losses = [info.evaluation["results"][0]["nll_nats_per_token"] for info in (first, second)]
        pair: dict[str, Any] = {
            "names": [first.name, second.name],
            "nll_nats_per_token": losses,
            "gap": abs(losses[0] - losses[1]),
        }
        if "depth_of_token_types" in first.evaluation and first.config["router_type"] != "none":
            pair |= _compare_depths(first.evaluation, second.evaluation)
        found.append(pair)
    return found


def _compare_depths(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    types = [evaluation["depth_of_token_types"] for evaluation in (first, second)]
    common = sorted(set(types[0]) & set(types[1]))
    means = [
        {name: group["mean_depth"] for name, group in evaluation["depths"]["by_class"].items()}
        for evaluation in (first, second)
    ]
    classes = [name for name in means[0] if name in means[1]]
    pairs = list(combinations(classes, 2))
    alike = [
        pair
        for pair in pairs
        if all(mean[pair[0]] < mean[pair[1]] for mean in means)
        or all(mean[pair[0]] > mean[pair[1]] for mean in means)
    ]
    return {
        "token_types": {
            "num_types": len(common),
            "rank_correlation": rank_correlation(
                [types[0][name] for name in common], [types[1][name] for name in common]
            ),
        },
        "classes": {
            "mean_depths": {name: [mean[name] for mean in means] for name in classes},
            "pairs": len(pairs),
            "pairs_in_the_same_order": len(alike),
            "rank_correlation": rank_correlation(
                [means[0][name] for name in classes], [means[1][name] for name in classes]
            ),
        },
    }


def _model(config: MoRConfig) -> dict[str, Any]:
    return {
        "router_type": config.router_type,
        "router_control": config.router_control,
        "kv_strategy": config.kv_strategy,
        "sharing": config.sharing,
        "num_experts": config.num_experts,
        "num_recursions": config.num_recursions,
        "num_hidden_layers": config.num_hidden_layers,
        "parameters": parameter_count(config),
        "parameters_without_embeddings": parameter_count(config, with_embeddings=False),
    }


def _training(info: CheckpointInfo) -> dict[str, Any]:
    """Return what the run cost; `None` for executed FLOPs in logs from before they were noted."""
    lines = [
        json.loads(line)
        for line in (info.path / "train_log.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    last, provenance = lines[-1], info.provenance
    executed = [line.get("step_executed_flops") for line in lines]
    return {
        "tokens": last["tokens"],
        "steps": last["step"],
        "active_flops": last["training_flops"],
        "executed_flops": None if None in executed else sum(executed),
        "wall_s": last["elapsed_s"],
        "tokens_per_s": statistics.median(line["tokens_per_s"] for line in lines),
        "peak_memory_bytes": last["peak_memory_bytes"],
        "hardware": provenance["hardware"],
        "precision": provenance["precision"],
    }


def _kv_bytes_per_token(config: MoRConfig, own: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Return the cache's bytes for a token of the evaluation's text, a mean, and those of the plain Transformer."""
    histogram = [own["num_depth_zero"], *own["depth_histogram"]]
    shares = [sum(histogram[r:]) / sum(histogram) for r in range(1, config.num_recursions + 1)]
    entries = 0.0
    for call in layer_schedule(config):
        if call.writes_cache:
            routed = config.has_router and call.recursion_idx is not None
            entries += shares[call.recursion_idx or 0] if routed else 1.0
    plain = vanilla_config(config)
    return {
        dtype: {
            "own": entries * kv_bytes_per_entry(config, size),
            "plain_transformer": num_cache_slots(plain) * kv_bytes_per_entry(plain, size),
        }
        for dtype, size in BYTES_PER_NUMBER.items()
    }


def _recipe_without_seed(info: CheckpointInfo) -> dict[str, Any]:
    recipe: dict[str, Any] = tomllib.loads((info.path / "recipe.toml").read_text(encoding="utf-8"))
    for field in ("seed", "name", "title"):
        recipe.get("run", {}).pop(field, None)
    return recipe
