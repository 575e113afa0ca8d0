"""The models in memory, shared by all viewers: loaded once, the longest unused one given back over the limit.

Knows neither Streamlit nor jobs; torch is imported when the first model is loaded.
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
    """Which weights: the folder, and the hash of its files, so that a replaced file is another model."""

    path: str
    sha256: str


@dataclass(frozen=True)
class Held:
    """A model in memory."""

    name: ModelName
    place: Placement
    num_bytes: int


Load = Callable[[ModelName, Placement], LoadedCheckpoint]


class ModelShelf:
    """Models by name and placement; safe for many threads, each model loaded by one of them."""

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
        """The most models that are kept."""
        return self._limit

    def get(self, name: ModelName, place: Placement) -> LoadedCheckpoint:
        """Return a model, loading it if it is not there; others wait for the same one."""
        key = (name, place)
        with self._lock:
            mutex = self._loading.setdefault(key, threading.Lock())
        with mutex:
            with self._lock:
                if key in self._models:
                    self._models.move_to_end(key)
                    return self._models[key][0]
            loaded = self._load(name, place)
            with self._lock:
                self._models[key] = (loaded, model_bytes(loaded.model))
                surplus = [
                    self._models.popitem(last=False) for _ in range(len(self._models) - self._limit)
                ]
        if surplus:
            del surplus
            release_unused()
        return loaded

    def choose(self, name: ModelName, place: Placement) -> None:
        """Let a model run here from now on, and give it back where else it was."""
        with self._lock:
            self._chosen[name] = place
            elsewhere = [key for key in self._models if key[0] == name and key[1] != place]
            for key in elsewhere:
                del self._models[key]
        if elsewhere:
            release_unused()

    def chosen(self, name: ModelName) -> Placement | None:
        """Return where a viewer wants a model to run, `None` if nobody said."""
        with self._lock:
            return self._chosen.get(name)

    def drop(self, name: ModelName) -> None:
        """Give a model back wherever it is; a run that still uses it keeps it until it has stopped."""
        with self._lock:
            for key in [key for key in self._models if key[0] == name]:
                del self._models[key]
        release_unused()

    def held(self) -> list[Held]:
        """Return what is in memory, the longest unused first."""
        with self._lock:
            return [Held(*key, num_bytes) for key, (_, num_bytes) in self._models.items()]


@functools.cache
def shelf() -> ModelShelf:
    """Return this process's models; MOR_MAX_MODELS says how many are kept."""
    named = os.environ.get(LIMIT_VARIABLE, "")
    limit = int(named) if named.isascii() and named.isdigit() and int(named) > 0 else MAX_MODELS
    return ModelShelf(_load, limit)


def _load(name: ModelName, place: Placement) -> LoadedCheckpoint:
    import torch

    from mor_core.model.accounting import parameter_count

    _leave_a_core_to_the_server()
    folder = Path(name.path)
    config = checkpoint.read_config(folder)
    check_room(folder.name, parameter_count(config), place)
    loaded = checkpoint.load_checkpoint(
        folder, device=place.device, dtype=getattr(torch, place.dtype)
    )
    gc.collect()
    gc.freeze()  # torch's and transformers' objects stay: no later collection needs to look at them
    return loaded


@functools.cache
def _leave_a_core_to_the_server() -> None:
    import torch

    torch.set_num_threads(max(1, (os.cpu_count() or 2) - 1))
