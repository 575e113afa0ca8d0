"""Registers the model with Hugging Face's Auto classes, but only once those are imported.

`import mor_core` must not import torch (recorded traces are shown without it), and yet
`AutoModelForCausalLM.from_pretrained(...)` must find the model, whichever package was imported first.
"""

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType

_REGISTERS = {
    "transformers.models.auto.configuration_auto": "mor_core.model.config",
    "transformers.models.auto.modeling_auto": "mor_core.model.model",
}
"""From each Auto module to the module of ours that is imported after it and registers itself."""


def register_when_needed() -> None:
    """Register with the Auto classes that are already imported, and with the others when they are imported."""
    for auto, ours in _REGISTERS.items():
        if auto in sys.modules:
            importlib.import_module(ours)
    if not all(auto in sys.modules for auto in _REGISTERS):
        sys.meta_path.insert(0, _AutoFinder())


class _AutoFinder(importlib.abc.MetaPathFinder):
    """Finds the Auto modules as usual and wraps their loaders."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in _REGISTERS:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _RegisteringLoader(spec.loader, _REGISTERS[fullname])
        return spec


class _RegisteringLoader(importlib.abc.Loader):
    """Loads an Auto module as usual, then our module."""

    def __init__(self, loader: importlib.abc.Loader, ours: str) -> None:
        self.loader = loader
        self.ours = ours

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        importlib.import_module(self.ours)
