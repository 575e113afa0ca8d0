"""The files of a checkpoint folder as bytes: which there are, whether they are whole, and their hash.

Knows nothing of models; nothing is allocated by what a file promises.
"""

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

_LARGEST_HEADER = 100 * 2**20  # what safetensors itself allows
_HASHED_AT_ONCE = 2**20
_BYTES_PER_NUMBER = {"BF16": 2, "F16": 2, "F32": 4, "F64": 8}


class CheckpointError(ValueError):
    """A folder that is no checkpoint, with what is wrong and what to do."""


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of a checkpoint folder.

    Raises:
        CheckpointError: it cannot be read or is none.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path.parent.name}/{path.name} cannot be read: {error}") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{path.parent.name}/{path.name} must hold a JSON object")
    return data


def weight_files(folder: Path) -> list[Path]:
    """Return the weight files of a folder, every one that its index names among them.

    Raises:
        CheckpointError: there are none, or one is missing.
    """
    files = sorted(folder.glob("model*.safetensors"))
    if not files:
        raise CheckpointError(
            f"{folder.name} has no model.safetensors; weights in other formats are not read, "
            "because a pickle can run code"
        )
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        listed = set(read_json(index).get("weight_map", {}).values())
        missing = sorted(listed - {file.name for file in files})
        if missing:
            raise CheckpointError(
                f"{folder.name} lacks {missing[0]}, which its index names; copy it again"
            )
    return files


def _read_header(file: Path) -> tuple[int, dict[str, Any]]:
    """Read the header of a safetensors file: where the data begin, and names, types and places of its tensors."""
    size = file.stat().st_size
    where = f"{file.parent.name}/{file.name}"
    with file.open("rb") as opened:
        start = opened.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size + 1
        if length > min(size - 8, _LARGEST_HEADER):
            raise CheckpointError(
                f"{where} is no safetensors file, or it is cut off; copy it again"
            )
        try:
            header = json.loads(opened.read(length))
        except ValueError as error:
            raise CheckpointError(
                f"{where} is no safetensors file: its header is not JSON"
            ) from error
    if not isinstance(header, dict):
        raise CheckpointError(f"{where} is no safetensors file: its header is no JSON object")
    header.pop("__metadata__", None)
    return 8 + length, header


def check_weight_file(file: Path) -> None:
    """Refuse a file whose size is not what its header says, before anything is allocated."""
    data_start, tensors = _read_header(file)
    expected = data_start + max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
    size = file.stat().st_size
    if size != expected:
        raise CheckpointError(
            f"{file.parent.name}/{file.name} has {size} bytes, its header says {expected}; "
            "the file is cut off or damaged, copy it again"
        )


def numbers_in(file: Path) -> int:
    """Count the numbers that a file stores, by its header."""
    total = 0
    for entry in _read_header(file)[1].values():
        width = _BYTES_PER_NUMBER.get(entry["dtype"], 1)
        total += (entry["data_offsets"][1] - entry["data_offsets"][0]) // width
    return total


def weights_sha256(files: list[Path]) -> str:
    """Return one SHA-256 of several files, in this order."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            while piece := opened.read(_HASHED_AT_ONCE):
                digest.update(piece)
    return digest.hexdigest()
