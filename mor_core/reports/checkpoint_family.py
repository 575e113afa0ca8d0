"""Writes checkpoints/family.json, which compares all checkpoints: training cost, quality, and cost to run.

The numbers come from the folders' result files and from `mor bench members`, which measures all speeds in one process.
Only closed-form quantities of the configurations, such as parameter counts, are computed here.
"""

import json
import statistics
from pathlib import Path
from typing import Any

from mor_core.benchmarks.checkpoint_speeds import (
    DECODING,
    TRAINING_STEP,
    Speeds,
    read_member_speeds,
)
from mor_core.checkpoints.checkpoint import (
    CheckpointError,
    CheckpointInfo,
    list_checkpoints,
    read_config,
)
from mor_core.evaluation.paired_comparisons import compare_members, compare_seeds
from mor_core.model.accounting import kv_bytes_per_entry, parameter_count, vanilla_kv_bytes
from mor_core.model.config import MoRConfig
from mor_core.model.layer_schedule import layer_schedule

FAMILY_FILE = "family.json"
BYTES_PER_NUMBER = {"bfloat16": 2, "float32": 4}
_OF_EVALUATION = ("threshold_sweep", "router", "depths", "tasks")


def write_family(root: Path) -> Path:
    """Write the family's file beside the checkpoints and return its path.

    Raises:
        CheckpointError: a checkpoint has no evaluation of its present weights, or the measured speeds are damaged.
    """
    path = root / FAMILY_FILE
    text = json.dumps(describe_family(root), indent=1, ensure_ascii=False)
    path.write_text(f"{text}\n", encoding="utf-8")
    return path


def describe_family(root: Path) -> dict[str, Any]:
    """Return the content of the family's file: the members, and the differences between members and between seeds.

    Raises:
        CheckpointError: as in `write_family`.
    """
    checkpoints = list_checkpoints(root)
    speeds = read_member_speeds(root)
    return {
        "members": [describe_member(info, speeds) for info in checkpoints],
        "differences": compare_members(checkpoints),
        "seeds": compare_seeds(checkpoints),
    }


def describe_member(info: CheckpointInfo, speeds: Speeds) -> dict[str, Any]:
    """Return the comparable numbers of a checkpoint's result files, and its speeds, `None` if not measured.

    Raises:
        CheckpointError: the checkpoint has no evaluation of its present weights.
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
        **{name: speeds.get((name, info.sha256)) for name in (DECODING, TRAINING_STEP)},
        "kv_bytes_per_token": _kv_bytes_per_token(config, results[0]),
        **{name: evaluation[name] for name in _OF_EVALUATION if name in evaluation},
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
    """Return the cost of the training run; `executed_flops` is `None` for older logs without this field.

    Seconds and tokens per second were measured on that run's machine with other processes running, so they are not
    comparable between checkpoints.
    """
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
    """Return the mean KV bytes per token of the evaluation's text, and those of the plain Transformer, by dtype."""
    histogram = [own["num_depth_zero"], *own["depth_histogram"]]
    shares = [sum(histogram[r:]) / sum(histogram) for r in range(1, config.num_recursions + 1)]
    entries = 0.0
    for call in layer_schedule(config):
        if call.writes_cache:
            routed = config.has_router and call.recursion_idx is not None
            entries += shares[call.recursion_idx or 0] if routed else 1.0
    return {
        dtype: {
            "own": entries * kv_bytes_per_entry(config, size),
            "plain_transformer": vanilla_kv_bytes(config, 1, size),
        }
        for dtype, size in BYTES_PER_NUMBER.items()
    }
