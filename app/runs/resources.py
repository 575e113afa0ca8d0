"""Checkpoints, recorded runs and result files, each loaded once for all viewers: the only file with `st.cache_*`.

Recorded runs need no weights. torch is imported when a job's thread loads the first model.
"""

import logging
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import streamlit as st

from app.runs import jobs, session
from app.runs.model_cache import ModelName, loaded_models
from app.tables.family_results import FAMILY_FILE, read_family
from app.tables.result_files import training_table
from app.text.words import say
from mor_core.checkpoints import checkpoint
from mor_core.checkpoints.checkpoint import CheckpointError, CheckpointInfo, LoadedCheckpoint
from mor_core.checkpoints.checkpoint_roots import checkpoint_root, checkpoint_roots
from mor_core.checkpoints.placement import Placement, placement
from mor_core.generation.lesson_runs import FOLDER as LESSON_FOLDER
from mor_core.traces.trace import TRACE_SUFFIX, Trace
from mor_core.traces.trace_file import load_trace

if TYPE_CHECKING:
    from mor_core.model.config import MoRConfig

logger = logging.getLogger(__name__)

MAX_TRACES = 96  # those of the lessons are short
UNLOAD_S = 5.0


def list_checkpoints() -> list[CheckpointInfo]:
    """Return the checkpoints, the default first, and then the folders that this viewer has opened."""
    listed = _found()[0]
    known = {info.path.resolve() for info in listed}
    return [*listed, *(info for info in _opened()[0] if info.path not in known)]


def checkpoint_problems() -> list[str]:
    """Return an error message for each folder that looks like a checkpoint but cannot be listed."""
    return [*_found()[1], *_opened()[1]]


def describe_folder(folder: Path) -> CheckpointInfo:
    """Describe a folder under a checkpoint root; its name is its path within the root.

    Raises:
        CheckpointError: the folder is not a checkpoint; the message says why.
    """
    info = _describe(str(folder), _newest_change(folder))
    roots = [root.resolve() for root in checkpoint_roots()]
    root = next((root for root in roots if folder.is_relative_to(root)), None)
    name = folder.relative_to(root).as_posix() if root else info.name
    return replace(info, name=info.name if name == "." else name)


def family() -> dict[str, Any]:
    """Return the content of the family file beside the checkpoints; empty if there is none.

    Raises:
        ResultError: the file is damaged.
    """
    path = checkpoint_root() / FAMILY_FILE
    return _read_family(str(path), path.stat().st_mtime_ns) if path.is_file() else {}


def training_log(name: str) -> pd.DataFrame:
    """Return a checkpoint's training log as `app.tables.result_files.training_table` does, read once for all viewers.

    Raises:
        ResultError: a line is not a JSON object.
        OSError: the file cannot be read.
    """
    folders = {info.name: info.path for info in list_checkpoints()}
    path = folders.get(name, checkpoint_root() / name) / "train_log.jsonl"
    return _read_log(str(path), path.stat().st_mtime_ns)


def read_config(info: CheckpointInfo) -> "MoRConfig":
    """Return a checkpoint's configuration. The first call takes seconds because it imports transformers.

    Raises:
        CheckpointError: a field is invalid or contradicts another.
    """
    with st.spinner(say("frame.preparing")):
        return _read_config(str(info.path), (info.path / "config.json").stat().st_mtime_ns)


def model_key(info: CheckpointInfo) -> ModelName:
    """Return the key of a checkpoint's worker; runs of the same weights share one worker."""
    return ModelName(str(info.path), info.sha256)


def loaded_checkpoint(info: CheckpointInfo) -> LoadedCheckpoint:
    """Return a listed checkpoint's model on this server's device. Call it in a job's thread, as it may block.

    Raises:
        CheckpointError: the folder's files have changed and are no longer a valid checkpoint.
    """
    name = ModelName(str(info.path), info.sha256)
    return loaded_models().get(name, loaded_models().chosen(name) or default_placement())


def load_on(info: CheckpointInfo, device: str, dtype: str) -> LoadedCheckpoint:
    """Load a checkpoint's model on the device that a viewer chose, and unload it elsewhere. Call it in a job's thread.

    Raises:
        CheckpointError: the folder's files have changed and are no longer a valid checkpoint.
        PlacementError: the model cannot run on the device with the dtype.
    """
    chosen = placement(device, dtype)
    name = ModelName(str(info.path), info.sha256)
    loaded = loaded_models().get(name, chosen)
    loaded_models().choose(name, chosen)
    return loaded


def unload(info: CheckpointInfo) -> None:
    """Cancel a checkpoint's runs and unload its model; its next run loads it again."""
    name = ModelName(str(info.path), info.sha256)
    running = jobs.job_manager().jobs_of(name)
    for job in running:
        job.cancel()
    end = time.monotonic() + UNLOAD_S
    while time.monotonic() < end and not all(job.is_finished for job in running):
        time.sleep(0.02)  # a run keeps the model until its present token is done
    loaded_models().drop(name)


def held_at(info: CheckpointInfo) -> Placement | None:
    """Return the placement of a listed checkpoint's loaded model; `None` if it is not loaded."""
    name = ModelName(str(info.path), info.sha256)
    return next((held.placement for held in loaded_models().held() if held.name == name), None)


def warm_up() -> None:
    """Load the default checkpoint's model. Errors are left to its first run, which reports them."""
    for info in list_checkpoints()[:1]:
        try:
            loaded_checkpoint(info)
        except (ValueError, OSError) as error:
            logger.warning("the default checkpoint could not be loaded ahead: %s", error)


def default_placement() -> Placement:
    """Return the default placement of models: from MOR_DEVICE and MOR_DTYPE, else the best for this machine.

    Call it in a job's thread: it imports torch to look for a GPU.

    Raises:
        PlacementError: the variables name a device or dtype that this machine does not support.
    """
    return placement(os.environ.get("MOR_DEVICE", "auto"), os.environ.get("MOR_DTYPE", "auto"))


def recorded_traces(folder: Path) -> list[Path]:
    """Return the files of a checkpoint's recorded runs, sorted by name."""
    return sorted((folder / "traces").glob(f"*{TRACE_SUFFIX}"))


def lesson_traces(folder: Path) -> dict[str, Path]:
    """Return the files of the lessons' recorded runs by name."""
    found = sorted((folder / LESSON_FOLDER).glob(f"*{TRACE_SUFFIX}"))
    return {path.name.removesuffix(TRACE_SUFFIX): path for path in found}


def open_trace(path: Path) -> Trace:
    """Read a recorded run. All viewers share the result, so callers must not change it.

    Raises:
        TraceError: the file is not a trace.
    """
    return _open_trace(str(path), path.stat().st_mtime_ns)


@st.cache_resource(max_entries=MAX_TRACES, show_spinner=False)
def _read_config(
    path: str,
    changed_ns: int,  # noqa: ARG001  part of the cache's key
) -> "MoRConfig":
    return checkpoint.read_config(Path(path))


@st.cache_data(max_entries=4, show_spinner=False)
def _read_folders(
    roots: tuple[str, ...],  # noqa: ARG001  part of the cache's key, as is the time
    newest_change: int,  # noqa: ARG001
) -> tuple[list[CheckpointInfo], list[str]]:
    return checkpoint.scan_checkpoints()


@st.cache_data(max_entries=MAX_TRACES, show_spinner=False)
def _describe(
    folder: str,
    newest_change: int,  # noqa: ARG001  part of the cache's key
) -> CheckpointInfo:
    return checkpoint.describe_checkpoint(Path(folder))


def _found() -> tuple[list[CheckpointInfo], list[str]]:
    roots = checkpoint_roots()
    return _read_folders(tuple(map(str, roots)), max(map(_newest_change, roots)))


def _opened() -> tuple[list[CheckpointInfo], list[str]]:
    found, problems = [], []
    for folder in session.opened_folders():
        try:
            found.append(describe_folder(folder))
        except CheckpointError as error:
            problems.append(str(error))
    return found, problems


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
    """Return the time in nanoseconds of the last change to the checkpoints' folder, configurations or weights."""
    files = [root, *root.glob("*"), *root.glob("*/config.json"), *root.glob("*/*.safetensors")]
    return max((path.stat().st_mtime_ns for path in files if path.exists()), default=0)
