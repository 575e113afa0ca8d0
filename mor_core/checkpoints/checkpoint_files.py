"""The files of a checkpoint folder as bytes: lists them, checks that they are complete, and hashes them.

Independent of the model's code. Sizes that a file claims are checked before anything is allocated.
"""

import hashlib
import json
import math
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mor_core.common.errors import UserError
from mor_core.common.json_checks import check_plain, is_count, is_number, shorten

if TYPE_CHECKING:
    from torch import Tensor

_MAX_HEADER_BYTES = 100 * 2**20  # the limit of the safetensors format
_HASH_CHUNK_BYTES = 2**20
_MAX_COUNT = 2**24
_COUNTS = (
    "num_prelude_layers",
    "num_layers_per_recursion",
    "num_recursions",
    "num_coda_layers",
    "hidden_size",
    "intermediate_size",
    "vocab_size",
    "num_attention_heads",
    "num_key_value_heads",
    "max_position_embeddings",
)
_BYTES_PER_NUMBER = {"BF16": 2, "F16": 2, "F32": 4, "F64": 8}


class CheckpointError(UserError):
    """The folder is not a valid checkpoint; the message says what is wrong and what to do."""


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of a checkpoint folder.

    Raises:
        CheckpointError: the file cannot be read or holds no JSON object.
    """
    where = f"{path.parent.name}/{path.name}"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        check_plain(data, path.stem)
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{where} cannot be read: {error}") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{where} must hold a JSON object, got {type(data).__name__}")
    return data


def weight_files(folder: Path) -> list[Path]:
    """Return the weight files of a folder, after checking that none of those in its index is missing.

    Raises:
        CheckpointError: the folder has no weight file, or one is missing.
    """
    files = sorted(folder.glob("model*.safetensors"))
    if not files:
        raise CheckpointError(
            f"{folder.name} has no model.safetensors; weights in other formats are not read, "
            "because a pickle can run code"
        )
    check_index(folder / "model.safetensors.index.json", files)
    return files


def check_index(index: Path, files: Sequence[Path]) -> None:
    """Refuse a folder that lacks a file named by its index. A model in a single file has no index.

    Raises:
        CheckpointError: a file is missing, or the index is invalid.
    """
    if not index.is_file():
        return
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(
        isinstance(name, str) for name in weight_map.values()
    ):
        raise CheckpointError(
            f"{index.parent.name}/{index.name} must hold a weight_map of file names; copy it again"
        )
    missing = sorted(set(weight_map.values()) - {file.name for file in files})
    if missing:
        raise CheckpointError(
            f"{index.parent.name} lacks {missing[0]}, which its index names; copy it again"
        )


def _read_header(file: Path) -> tuple[int, dict[str, Any]]:
    """Return the offset of a safetensors file's data, and its header: dtype, shape and offsets by tensor name."""
    size = file.stat().st_size
    where = f"{file.parent.name}/{file.name}"
    with file.open("rb") as opened:
        start = opened.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size + 1
        if length > min(size - 8, _MAX_HEADER_BYTES):
            raise CheckpointError(
                f"{where} is not a safetensors file, or it is cut off; copy it again"
            )
        try:
            header = json.loads(opened.read(length))
        except (ValueError, RecursionError) as error:
            raise CheckpointError(
                f"{where} is not a safetensors file: its header is not JSON"
            ) from error
    if not isinstance(header, dict):
        raise CheckpointError(f"{where} is not a safetensors file: its header is not a JSON object")
    header.pop("__metadata__", None)
    for name, entry in header.items():
        if not _is_entry(entry, size):
            raise CheckpointError(
                f"{where} is not a safetensors file: its header describes {shorten(name)} as {shorten(entry)}, which "
                "is not a tensor in the file; copy it again"
            )
    return 8 + length, header


def _is_entry(entry: Any, size: int) -> bool:
    """Whether a header's entry has a supported dtype, a shape, and offsets in the file that match both."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        return False
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _BYTES_PER_NUMBER:
        return False
    for values in (shape, offsets):
        if not isinstance(values, list) or not all(map(is_count, values)):
            return False
    if len(offsets) != 2 or not offsets[0] <= offsets[1] <= size:
        return False
    return math.prod(shape) * _BYTES_PER_NUMBER[dtype] == offsets[1] - offsets[0]


def check_weight_file(file: Path) -> None:
    """Refuse a file whose size differs from what its header says, before anything is allocated.

    Raises:
        CheckpointError: the sizes differ, or the header is invalid.
    """
    data_start, tensors = _read_header(file)
    expected = data_start + max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
    size = file.stat().st_size
    if size != expected:
        raise CheckpointError(
            f"{file.parent.name}/{file.name} has {size} bytes, its header says {expected}; "
            "the file is cut off or damaged, copy it again"
        )


def num_stored_parameters(file: Path) -> int:
    """Return how many parameters a weight file stores, according to its header."""
    total = 0
    for entry in _read_header(file)[1].values():
        width = _BYTES_PER_NUMBER[entry["dtype"]]
        total += (entry["data_offsets"][1] - entry["data_offsets"][0]) // width
    return total


def weights_sha256(files: list[Path]) -> str:
    """Return one SHA-256 over several files, in the order given."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            while chunk := opened.read(_HASH_CHUNK_BYTES):
                digest.update(chunk)
    return digest.hexdigest()


def check_finite(weights: Mapping[str, "Tensor"], name: str) -> None:
    """Refuse weights with NaN or infinite values.

    Raises:
        CheckpointError: names the first such tensor.
    """
    for key, tensor in weights.items():
        if not bool(tensor.isfinite().all()):
            raise CheckpointError(
                f"{name}: the weights hold numbers that are not finite, first in {key}; this model is damaged, or its "
                "training diverged: use another checkpoint"
            )


def check_config_fields(config: Mapping[str, Any], name: str) -> None:
    """Check the config fields that are read without `MoRConfig`, such as by pages that list checkpoints.

    Raises:
        CheckpointError: names the field, the rule and the value.
    """
    for field in _COUNTS:
        if field in config and not (is_count(config[field]) and config[field] <= _MAX_COUNT):
            raise CheckpointError(
                f"{name}/config.json: {field} must be an integer from 0 to {_MAX_COUNT}, got {shorten(config[field])}"
            )
    for field in ("router_type", "kv_strategy"):
        if field in config and not isinstance(config[field], str):
            raise CheckpointError(
                f"{name}/config.json: {field} must be a name, got {shorten(config[field])}"
            )
    factors = config.get("capacity_factors")
    if factors is not None and not (
        isinstance(factors, list) and factors and all(map(is_number, factors))
    ):
        raise CheckpointError(
            f"{name}/config.json: capacity_factors must be null or numbers, got {shorten(factors)}"
        )
