"""Tells Hugging Face's Auto classes of our model, no sooner than they are imported.

`import mor_core` must stay free of torch (a recorded trace draws without it), and yet
`AutoModelForCausalLM.from_pretrained(...)` must know us afterwards, whichever was imported first.
"""

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType

_AUTO_MODULE = "transformers.models.auto.modeling_auto"
_MODEL_MODULE = "mor_core.model"


def register_when_needed() -> None:
    """Register now if the Auto classes are there, else as soon as somebody imports them."""
    if _AUTO_MODULE in sys.modules:
        importlib.import_module(_MODEL_MODULE)
    else:
        sys.meta_path.insert(0, _AutoFinder())


class _AutoFinder(importlib.abc.MetaPathFinder):
    """Waits for one module, steps aside and wraps its loader."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != _AUTO_MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _RegisteringLoader(spec.loader)
        return spec


class _RegisteringLoader(importlib.abc.Loader):
    """Loads the Auto classes as before, then our model, which registers itself."""

    def __init__(self, loader: importlib.abc.Loader) -> None:
        self.loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        importlib.import_module(_MODEL_MODULE)
