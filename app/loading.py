"""Checkpoints and recorded runs, each loaded once for all viewers: the only file with `st.cache_*`.

A recorded run needs no weights: torch is imported when the first model is loaded, which happens in a job's thread.
"""

import functools
import gc
import logging
import os
from collections.abc import Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import streamlit as st

from app.family_results import FAMILY_FILE, read_family
from app.results import training_table
from mor_core import checkpoint
from mor_core.checkpoint import DTYPE_NAMES, CheckpointInfo, LoadedCheckpoint, checkpoint_root
from mor_core.lesson_runs import FOLDER as LESSON_FOLDER
from mor_core.trace import TRACE_SUFFIX, Trace
from mor_core.tracefile import load_trace

if TYPE_CHECKING:
    from mor_core.config import MoRConfig

logger = logging.getLogger(__name__)

MAX_MODELS = 2
MAX_TRACES = 96  # those of the lessons are short


def list_checkpoints() -> list[CheckpointInfo]:
    """Return the checkpoints, the default first."""
    return _found()[0]


def checkpoint_problems() -> list[str]:
    """Say what is wrong with each folder that looks like a checkpoint and is left out of the list."""
    return _found()[1]


def family() -> dict[str, Any]:
    """Return the family's file beside the checkpoints, nothing if there is none.

    Raises:
        ResultError: the file is damaged.
    """
    path = checkpoint_root() / FAMILY_FILE
    return _read_family(str(path), path.stat().st_mtime_ns) if path.is_file() else {}


def training_log(name: str) -> pd.DataFrame:
    """Return a checkpoint's training log as `results.training_table` does, read once for all viewers.

    Raises:
        ResultError: the file holds something else.
        OSError: the file cannot be read.
    """
    path = checkpoint_root() / name / "train_log.jsonl"
    return _read_log(str(path), path.stat().st_mtime_ns)


def load_model(path: str, weights_sha256: str, device: str, dtype: str) -> LoadedCheckpoint:
    """Return a checkpoint's model and tokenizer, loading them the first time.

    Args:
        path: the checkpoint's folder.
        weights_sha256: of its weights, so that a replaced file is loaded anew.
        device: such as `cpu` or `cuda`.
        dtype: such as `float32`.

    Raises:
        CheckpointError: the folder does not hold what it should.
    """
    return _load_model(path, weights_sha256, device, dtype)


def read_config(info: CheckpointInfo) -> "MoRConfig":
    """Return a checkpoint's configuration; imports transformers, which the first time takes seconds.

    Raises:
        CheckpointError: a field is wrong or contradicts another.
    """
    return _read_config(str(info.path), (info.path / "config.json").stat().st_mtime_ns)


def model_key(info: CheckpointInfo) -> Hashable:
    """Name the worker that serves a checkpoint's model: runs of the same weights take turns."""
    return (str(info.path), info.sha256)


def loaded_checkpoint(info: CheckpointInfo) -> LoadedCheckpoint:
    """Return a listed checkpoint's model on this server's device; for a job's thread, which may wait.

    Raises:
        CheckpointError: the folder does not hold what it should any more.
    """
    return load_model(str(info.path), info.sha256, *device_and_dtype())


def warm_up() -> None:
    """Load the default checkpoint's model; what is wrong with it is said when somebody runs it."""
    for info in list_checkpoints()[:1]:
        try:
            loaded_checkpoint(info)
        except (ValueError, OSError) as error:
            logger.warning("the default checkpoint could not be loaded ahead: %s", error)


def device_and_dtype() -> tuple[str, str]:
    """Return where models run: MOR_DEVICE and MOR_DTYPE, else a GPU in bfloat16, else the CPU in float32.

    Needs torch only to look for a GPU, so it is asked in a job's thread.
    """
    device = os.environ.get("MOR_DEVICE", "auto")
    if device == "auto":
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = os.environ.get("MOR_DTYPE", "auto")
    if dtype == "auto":
        dtype = "bfloat16" if device.startswith("cuda") else "float32"
    return device, DTYPE_NAMES.get(dtype, dtype)


def recorded_traces(folder: Path) -> list[Path]:
    """List the recorded runs of a checkpoint by name."""
    return sorted((folder / "traces").glob(f"*{TRACE_SUFFIX}"))


def lesson_traces(folder: Path) -> dict[str, Path]:
    """List the runs that the lessons show, by name."""
    found = sorted((folder / LESSON_FOLDER).glob(f"*{TRACE_SUFFIX}"))
    return {path.name.removesuffix(TRACE_SUFFIX): path for path in found}


def open_trace(path: Path) -> Trace:
    """Read a recorded run, once for all viewers; nobody may change it.

    Raises:
        TraceError: the file is not a trace.
    """
    return _open_trace(str(path), path.stat().st_mtime_ns)


@st.cache_resource(max_entries=MAX_MODELS, show_spinner=False)
def _load_model(
    path: str,
    weights_sha256: str,  # noqa: ARG001  part of the cache's key
    device: str,
    dtype: str,
) -> LoadedCheckpoint:
    import torch

    _leave_a_core_to_the_server()
    loaded = checkpoint.load_checkpoint(Path(path), device=device, dtype=getattr(torch, dtype))
    gc.collect()
    gc.freeze()  # torch's and transformers' objects stay: no later collection needs to look at them
    return loaded


@st.cache_resource(max_entries=MAX_TRACES, show_spinner="Preparing the count")
def _read_config(
    path: str,
    changed_ns: int,  # noqa: ARG001  part of the cache's key
) -> "MoRConfig":
    return checkpoint.read_config(Path(path))


@st.cache_data(max_entries=4, show_spinner=False)
def _read_folder(
    root: str,
    newest_change: int,  # noqa: ARG001  part of the cache's key
) -> tuple[list[CheckpointInfo], list[str]]:
    return checkpoint.scan_checkpoints(Path(root))


def _found() -> tuple[list[CheckpointInfo], list[str]]:
    root = checkpoint_root()
    return _read_folder(str(root), _newest_change(root))


@st.cache_data(max_entries=MAX_TRACES, show_spinner=False)
def _read_log(
    path: str,
    changed_ns: int,  # noqa: ARG001  part of the cache's key
) -> pd.DataFrame:
    return training_table(Path(path))


@st.cache_resource(max_entries=1, show_spinner=False)
def _read_family(
    path: str,
    changed_ns: int,  # noqa: ARG001  part of the cache's key
) -> dict[str, Any]:
    return read_family(Path(path).parent)


@st.cache_resource(max_entries=MAX_TRACES, show_spinner=False)
def _open_trace(
    path: str,
    changed_ns: int,  # noqa: ARG001  part of the cache's key
) -> Trace:
    return load_trace(Path(path))


def _newest_change(root: Path) -> int:
    """Time of the last change to the list of checkpoints or to one of their configs or weights, in nanoseconds."""
    files = [root, *root.glob("*"), *root.glob("*/config.json"), *root.glob("*/*.safetensors")]
    return max((path.stat().st_mtime_ns for path in files if path.exists()), default=0)


@functools.cache
def _leave_a_core_to_the_server() -> None:
    import torch

    torch.set_num_threads(max(1, (os.cpu_count() or 2) - 1))
