"""A cache of loaded models that all viewers share; above the limit, the least recently used model is unloaded.

Imports neither Streamlit nor jobs; torch is imported when the first model is loaded.
"""

import functools
import gc
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mor_core.checkpoints import checkpoint
from mor_core.checkpoints.checkpoint import LoadedCheckpoint
from mor_core.checkpoints.placement import Placement, check_room, model_bytes, release_unused

MAX_MODELS = 2
LIMIT_VARIABLE = "MOR_MAX_MODELS"


class ModelName(NamedTuple):
    """Identifies weights by folder and hash of the files, so that replaced files count as another model."""

    path: str
    sha256: str


@dataclass(frozen=True)
class Held:
    """A model in memory."""

    name: ModelName
    placement: Placement
    num_bytes: int


Load = Callable[[ModelName, Placement], LoadedCheckpoint]


class ModelCache:
    """Loaded models by name and placement. Thread-safe: each model is loaded by one thread only."""

    def __init__(self, load: Load, limit: int) -> None:
        self._load = load
        self._limit = limit
        self._lock = threading.Lock()
        self._loading: dict[tuple[ModelName, Placement], threading.Lock] = {}
        self._models: OrderedDict[tuple[ModelName, Placement], tuple[LoadedCheckpoint, int]] = (
            OrderedDict()
        )
        self._chosen: dict[ModelName, Placement] = {}

    @property
    def limit(self) -> int:
        """The maximum number of loaded models."""
        return self._limit

    def get(self, name: ModelName, placement: Placement) -> LoadedCheckpoint:
        """Return a model, loading it if necessary; other threads wait for the same loading."""
        key = (name, placement)
        with self._lock:
            mutex = self._loading.setdefault(key, threading.Lock())
        with mutex:
            with self._lock:
                if key in self._models:
                    self._models.move_to_end(key)
                    return self._models[key][0]
            loaded = self._load(name, placement)
            with self._lock:
                self._models[key] = (loaded, model_bytes(loaded.model))
                surplus = [
                    self._models.popitem(last=False) for _ in range(len(self._models) - self._limit)
                ]
        if surplus:
            del surplus
            release_unused()
        return loaded

    def choose(self, name: ModelName, placement: Placement) -> None:
        """Set the placement of a model for all viewers, and unload it from other placements."""
        with self._lock:
            self._chosen[name] = placement
            elsewhere = [key for key in self._models if key[0] == name and key[1] != placement]
            for key in elsewhere:
                del self._models[key]
        if elsewhere:
            release_unused()

    def chosen(self, name: ModelName) -> Placement | None:
        """Return the placement that a viewer chose for a model; `None` without a choice."""
        with self._lock:
            return self._chosen.get(name)

    def drop(self, name: ModelName) -> None:
        """Unload a model from all placements; a run that still uses it keeps it until the run ends."""
        with self._lock:
            for key in [key for key in self._models if key[0] == name]:
                del self._models[key]
        release_unused()

    def held(self) -> list[Held]:
        """Return the loaded models, the least recently used first."""
        with self._lock:
            return [Held(*key, num_bytes) for key, (_, num_bytes) in self._models.items()]


@functools.cache
def loaded_models() -> ModelCache:
    """Return this process's model cache; the variable MOR_MAX_MODELS sets its limit."""
    named = os.environ.get(LIMIT_VARIABLE, "")
    limit = int(named) if named.isascii() and named.isdigit() and int(named) > 0 else MAX_MODELS
    return ModelCache(_load, limit)


def _load(name: ModelName, placement: Placement) -> LoadedCheckpoint:
    import torch

    from mor_core.model.accounting import parameter_count

    _reserve_core_for_server()
    folder = Path(name.path)
    config = checkpoint.read_config(folder)
    check_room(folder.name, parameter_count(config), placement)
    loaded = checkpoint.load_checkpoint(
        folder, device=placement.device, dtype=getattr(torch, placement.dtype)
    )
    gc.collect()
    gc.freeze()  # torch's and transformers' objects stay alive, so later collections need not scan them
    return loaded


@functools.cache
def _reserve_core_for_server() -> None:
    import torch

    torch.set_num_threads(max(1, (os.cpu_count() or 2) - 1))
