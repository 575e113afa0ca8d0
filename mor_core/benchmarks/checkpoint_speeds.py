"""Reads the speeds that `mor bench members` measured, by the checksum of the measured weights."""

import json
from pathlib import Path
from typing import Any

from mor_core.benchmarks.result import BENCH_FOLDER
from mor_core.checkpoints.checkpoint_files import CheckpointError

MEMBERS_FILE = f"{BENCH_FOLDER}/members.json"
DECODING, TRAINING_STEP = "decoding", "training_step"
Speeds = dict[tuple[str, str], dict[str, Any]]
"""Measurements by quantity (`DECODING` or `TRAINING_STEP`) and sha256 of the weights."""


def read_member_speeds(root: Path) -> Speeds:
    """Return each measurement: `tokens_per_s`, `spread`, `conditions`; empty without the file.

    `spread` holds the slowest and the fastest round. Results of a quick run are ignored, since its steps have another
    size.

    Args:
        root: the checkpoints' folder.

    Raises:
        CheckpointError: the file is damaged.
    """
    path = root / MEMBERS_FILE
    if not path.is_file():
        return {}
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return {} if document["settings"]["quick"] else _speeds(document)
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{MEMBERS_FILE} is damaged ({error!r}); measure again with: mor bench members --out {path}"
        ) from error


def _speeds(document: dict[str, Any]) -> Speeds:
    machine = document["hardware"]
    shared = {
        "processor": machine.get("gpu") or machine["processor"],
        "device": machine["device"],
        "threads": machine["threads"],
        "dtype": machine["dtype"],
        "warm_ups": document["settings"]["warm_ups"],
        "measured": document["created"],
        "code_revision": document["code_revision"],
    }
    found: Speeds = {}
    for result in document["results"]:
        extra, spread = result["extra"], result["spread"]["ours"]
        found[extra["quantity"], extra["checkpoint_sha256"]] = {
            "tokens_per_s": result["ours"],
            "spread": [spread["min"], spread["max"]],
            "conditions": {"what": result["note"], "repeats": result["repeats"], **shared},
        }
    return found
