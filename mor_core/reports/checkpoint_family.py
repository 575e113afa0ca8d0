"""The checkpoints side by side in checkpoints/family.json: what each cost, what it is worth, what it costs to run.

Read from the folders' own papers, speeds from `mor bench members`, which alone measured all in one process; nothing is
computed anew but closed forms of their configurations.
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
        CheckpointError: a checkpoint has no evaluation, or one of other weights; or measured speeds are damaged.
    """
    path = root / FAMILY_FILE
    text = json.dumps(describe_family(root), indent=1, ensure_ascii=False)
    path.write_text(f"{text}\n", encoding="utf-8")
    return path


def describe_family(root: Path) -> dict[str, Any]:
    """Return what the family's file is to hold: the members, and how every two of them and every two seeds differ.

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
    """Return what a checkpoint's papers say that can be compared, and its speeds, `None` where not measured.

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
    """Return what the run cost; `None` for executed FLOPs in logs from before they were noted.

    Seconds and tokens a second are of that run on its machine, other work beside it included: not to be compared.
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
    """Return the cache's bytes for a token of the evaluation's text, a mean, and those of the plain Transformer."""
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
