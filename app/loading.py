"""Checkpoints and recorded runs, each loaded once for all viewers: the only file with `st.cache_*`.

A recorded run needs no weights: torch is imported when the first model is loaded, which happens in a job's thread.
"""

import functools
import gc
import os
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from mor_core.trace import TRACE_SUFFIX, Trace, load_trace

if TYPE_CHECKING:
    from mor_core.checkpoint import CheckpointInfo, LoadedCheckpoint

ROOT = Path(__file__).resolve().parent.parent
MAX_MODELS = 2
MAX_TRACES = 32
DTYPE_NAMES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}


def checkpoint_root() -> Path:
    """Return the folder that checkpoints are listed from."""
    return Path(os.environ.get("MOR_CHECKPOINTS") or ROOT / "checkpoints")


def list_checkpoints() -> "list[CheckpointInfo]":
    """Return the checkpoints, the default first."""
    root = checkpoint_root()
    return _list_checkpoints(str(root), _newest_change(root))


def load_model(path: str, weights_sha256: str, device: str, dtype: str) -> "LoadedCheckpoint":
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
) -> "LoadedCheckpoint":
    import torch
    from mor_core.checkpoint import load_checkpoint

    _leave_a_core_to_the_server()
    loaded = load_checkpoint(Path(path), device=device, dtype=getattr(torch, dtype))
    gc.collect()
    gc.freeze()  # torch's and transformers' objects stay: no later collection needs to look at them
    return loaded


@st.cache_data(max_entries=4, show_spinner=False)
def _list_checkpoints(
    root: str,
    newest_change: int,  # noqa: ARG001  part of the cache's key
) -> "list[CheckpointInfo]":
    from mor_core import checkpoint

    return checkpoint.list_checkpoints(Path(root))


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
