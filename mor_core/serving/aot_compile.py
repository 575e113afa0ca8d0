"""Compiles ahead of time the modules that a token alone in its step runs through, and keeps them.

A single token is as fast as its weights come from memory and its kernels are launched; launched from Python one by
one, the small ones cost more than the weights. PyTorch's compiler makes each module one call. It takes some ten seconds
a module, once for a machine, a shape and a version of the code: what it makes is kept beside its other results.

Shapes: as in `compiled_modules.py`.
"""

import functools
import hashlib
import inspect
import logging
import platform
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from mor_core.common.errors import UserError
from mor_core.model import expert_choice, layers
from mor_core.model.config import MoRConfig
from mor_core.model.expert_choice import ExpertChoiceRouter
from mor_core.model.model import MoRForCausalLM
from mor_core.serving import compiled_modules
from mor_core.serving.compiled_modules import AttentionMLP, LMHead, QKVProjection, RouterHead

_Module = Callable[[list[Tensor]], list[Tensor]]
_log = logging.getLogger(__name__)


class CompileError(UserError):
    """A model or a machine for which nothing can be compiled, with the rule and the remedy."""


class CompiledModules:
    """The compiled modules for models of one configuration and dtype; weights come with each call."""

    def __init__(self, model: MoRForCausalLM) -> None:
        """Load the modules, or compile them if this machine has not done so yet.

        Raises:
            CompileError: the model has Switch layers or is not on the CPU, or there is no compiler.
        """
        config: MoRConfig = model.config
        _check(config, model.device)
        hidden, inner = config.hidden_size, config.intermediate_size
        heads, groups = config.num_attention_heads, config.num_key_value_heads
        width, eps = config.attention_head_dim, config.rms_norm_eps

        def some(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=model.dtype)

        # Each its own tensor: what goes in twice would be taken for one.
        state, norm = some(1, hidden), some(hidden)
        entry = [state, some(width), some(width), norm]
        with_keys = [*entry, some((heads + 2 * groups) * width, hidden)]
        self._qkv = self._queries = _compiled(QKVProjection(width, heads, eps), with_keys)
        if config.kv_strategy != "recursion_wise":
            queries_only = [*entry, some(heads * width, hidden)]
            self._queries = _compiled(QKVProjection(width, heads, eps), queries_only)
        queries, entries = some(heads, width), some(8, 2 * groups, width)
        gate, up, down = some(inner, hidden), some(inner, hidden), some(hidden, inner)
        output = some(hidden, heads * width)
        self._attention_mlp = _compiled(
            AttentionMLP(eps), [state, queries, entries, output, norm, gate, up, down], growing=2
        )
        self._lm_head = _compiled(LMHead(eps), [state, norm, some(config.vocab_size, hidden)])
        self._router_head: _Module | None = None
        if has_router_head(config):
            router = cast(ExpertChoiceRouter, model.model.routers[0])
            head = RouterHead(router.activation, router.alpha, router.temperature)
            matrices = [torch.zeros_like(matrix) for matrix in router.matrices()]
            self._router_head = _compiled(head, [state, *matrices])

    def qkv(
        self, state: Tensor, cos: Tensor, sin: Tensor, norm: Tensor, matrix: Tensor
    ) -> list[Tensor]:
        """Do as `QKVProjection` does; -> queries and a cache entry."""
        return self._qkv([state, cos, sin, norm, matrix])

    def queries(
        self, state: Tensor, cos: Tensor, sin: Tensor, norm: Tensor, matrix: Tensor
    ) -> Tensor:
        """Do as `QKVProjection` does for queries alone, where a layer call reads keys of an earlier recursion."""
        return self._queries([state, cos, sin, norm, matrix])[0]

    def attention_mlp(
        self, state: Tensor, queries: Tensor, entries: Tensor, *weights: Tensor
    ) -> Tensor:
        """Do as `AttentionMLP` does."""
        return self._attention_mlp([state, queries, entries, *weights])[0]

    def router_head(self, state: Tensor, matrices: Sequence[Tensor]) -> tuple[float, Tensor]:
        """Do as `RouterHead` does; -> the logit and the gate."""
        assert self._router_head is not None, "router_head needs a model that has_router_head"
        logit, gate = self._router_head([state, *matrices])
        return logit.item(), gate

    def lm_head(self, state: Tensor, norm: Tensor, head: Tensor) -> Tensor:
        """Do as `LMHead` does."""
        return self._lm_head([state, norm, head])[0]


def has_router_head(config: MoRConfig) -> bool:
    """Whether a compiled module computes logit and gate: for a router that can be compiled, and whose own count."""
    is_whole = (
        config.router_supervision != "aux_router" and config.router_control != "random_scores"
    )
    return config.router.is_compiled and is_whole


def _check(config: MoRConfig, device: torch.device) -> None:
    if config.num_experts > 1:
        raise CompileError(
            f"num_experts must be 1 to compile, got {config.num_experts}: which weights a Switch layer reads is "
            "known only on the way; run it without compiling"
        )
    if device.type != "cpu":
        raise CompileError(
            f"device must be cpu to compile, got {device.type}; run it without compiling"
        )


def _compiled(module: nn.Module, inputs: Sequence[Tensor], growing: int | None = None) -> _Module:
    """Return a module for inputs of these shapes; the one at place `growing` may be of any length."""
    path = _package_path(module, inputs, growing)
    if not path.is_file():
        # A warning, since it is the one level that is shown unasked; whoever waits wants to know for what.
        _log.warning(
            "compiling %s for this machine and shape; some ten seconds, once",
            type(module).__name__,
        )
        _compile(module, inputs, growing, path)
    return _loaded(path)


@functools.cache  # each loading unpacks the file anew
def _loaded(path: Path) -> _Module:
    from torch._inductor import aoti_load_package  # it takes a second

    # The loader itself: the object around it flattens its arguments with each call, which takes as long as a module.
    return cast(_Module, aoti_load_package(str(path)).loader.run)


def _package_path(module: nn.Module, inputs: Sequence[Tensor], growing: int | None) -> Path:
    """Name a module by all that its code depends on."""
    from torch._inductor.runtime.cache_dir_utils import cache_dir

    described = [
        *_CODE,
        torch.__version__,
        platform.machine(),
        torch.backends.cpu.get_cpu_capability(),
        type(module).__name__,
        sorted((name, value) for name, value in vars(module).items() if name[0] != "_"),
        [(tuple(value.shape), value.dtype) for value in inputs],
        growing,
    ]
    key = hashlib.sha256(repr(described).encode()).hexdigest()[:32]
    return Path(cache_dir()) / "mor_core" / f"{type(module).__name__.lower()}-{key}.pt2"


def _compile(module: nn.Module, inputs: Sequence[Tensor], growing: int | None, path: Path) -> None:
    from torch._inductor import aoti_compile_and_package
    from torch._inductor.exc import InductorError, InvalidCxxCompiler

    path.parent.mkdir(parents=True, exist_ok=True)
    with torch.inference_mode(False), torch.no_grad():
        shapes = None
        if growing is not None:
            length = {0: torch.export.Dim("length")}
            shapes = [length if place == growing else None for place in range(len(inputs))]
        exported = torch.export.export(module.eval(), tuple(inputs), dynamic_shapes=shapes)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            made = Path(folder) / "module.pt2"
            try:
                # As many threads as the process has when it runs, not when it compiled.
                aoti_compile_and_package(
                    exported,
                    package_path=str(made),
                    inductor_configs={"cpp.dynamic_threads": True},
                )
            except (InductorError, InvalidCxxCompiler) as error:
                cause = str(error).partition("\n")[0]
                raise CompileError(
                    f"compiling needs a C++ compiler that works, got {cause}; install g++, or run without compiling"
                ) from error
            made.replace(path)  # whole or not at all


_CODE = [
    inspect.getsource(source) for source in (compiled_modules, layers, expert_choice, _compile)
]
"""All that decides what a module does, and how it is compiled."""
