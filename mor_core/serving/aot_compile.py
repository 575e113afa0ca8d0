"""Compiles the modules of a single-token step ahead of time, and caches the results.

Decoding one token is limited by reading the weights and launching the kernels; launched from Python one by one, the
small kernels cost more than the weights. PyTorch's compiler makes each module one call. Compiling takes some ten
seconds per module, once per machine, shape and version of the code; the results are stored in the compiler's cache.

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
    """A model or a machine for which modules cannot be compiled, with the rule and the remedy."""


class CompiledModules:
    """The compiled modules for models of one configuration and dtype; each call passes the weights."""

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

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=model.dtype)

        # Each input is its own tensor: the export would treat a tensor that is passed twice as one input.
        state, norm = zeros(1, hidden), zeros(hidden)
        entry = [state, zeros(width), zeros(width), norm]
        with_keys = [*entry, zeros((heads + 2 * groups) * width, hidden)]
        self._qkv = self._queries = _compiled(QKVProjection(width, heads, eps), with_keys)
        if config.kv_strategy != "recursion_wise":
            queries_only = [*entry, zeros(heads * width, hidden)]
            self._queries = _compiled(QKVProjection(width, heads, eps), queries_only)
        queries, entries = zeros(heads, width), zeros(8, 2 * groups, width)
        gate, up, down = zeros(inner, hidden), zeros(inner, hidden), zeros(hidden, inner)
        output = zeros(hidden, heads * width)
        self._attention_mlp = _compiled(
            AttentionMLP(eps), [state, queries, entries, output, norm, gate, up, down], growing=2
        )
        self._lm_head = _compiled(LMHead(eps), [state, norm, zeros(config.vocab_size, hidden)])
        self._router_head: _Module | None = None
        if has_router_head(config):
            router = cast(ExpertChoiceRouter, model.model.routers[0])
            head = RouterHead(router.activation, router.alpha, router.temperature)
            matrices = [torch.zeros_like(matrix) for matrix in router.matrices()]
            self._router_head = _compiled(head, [state, *matrices])

    def qkv(
        self, state: Tensor, cos: Tensor, sin: Tensor, norm: Tensor, matrix: Tensor
    ) -> list[Tensor]:
        """Compute `QKVProjection`; -> queries and a cache entry."""
        return self._qkv([state, cos, sin, norm, matrix])

    def queries(
        self, state: Tensor, cos: Tensor, sin: Tensor, norm: Tensor, matrix: Tensor
    ) -> Tensor:
        """Compute the queries of `QKVProjection` only, for a layer call that reuses the keys of recursion 1."""
        return self._queries([state, cos, sin, norm, matrix])[0]

    def attention_mlp(
        self, state: Tensor, queries: Tensor, entries: Tensor, *weights: Tensor
    ) -> Tensor:
        """Compute `AttentionMLP`."""
        return self._attention_mlp([state, queries, entries, *weights])[0]

    def router_head(self, state: Tensor, matrices: Sequence[Tensor]) -> tuple[float, Tensor]:
        """Compute `RouterHead`; -> the logit and the gate."""
        assert self._router_head is not None, "router_head needs a model that has_router_head"
        logit, gate = self._router_head([state, *matrices])
        return logit.item(), gate

    def lm_head(self, state: Tensor, norm: Tensor, head: Tensor) -> Tensor:
        """Compute `LMHead`."""
        return self._lm_head([state, norm, head])[0]


def has_router_head(config: MoRConfig) -> bool:
    """Whether a compiled module computes logit and gate: its router can be compiled, and both come from one logit."""
    uses_own_logits = (
        config.router_supervision != "aux_router" and config.router_control != "random_scores"
    )
    return config.router.is_compiled and uses_own_logits


def _check(config: MoRConfig, device: torch.device) -> None:
    if config.num_experts > 1:
        raise CompileError(
            f"num_experts must be 1 to compile, got {config.num_experts}: which weights a Switch layer reads "
            "depends on the token; run it without compiling"
        )
    if device.type != "cpu":
        raise CompileError(
            f"device must be cpu to compile, got {device.type}; run it without compiling"
        )


def _compiled(module: nn.Module, inputs: Sequence[Tensor], growing: int | None = None) -> _Module:
    """Return a compiled module for inputs of these shapes; input number `growing` may have any length."""
    path = _package_path(module, inputs, growing)
    if not path.is_file():
        # A warning, since lower levels are not shown by default, and the user should know what takes so long.
        _log.warning(
            "compiling %s for this machine and shape; some ten seconds, once",
            type(module).__name__,
        )
        _compile(module, inputs, growing, path)
    return _loaded(path)


@functools.cache  # loading unpacks the file each time
def _loaded(path: Path) -> _Module:
    from torch._inductor import aoti_load_package  # importing it takes a second

    # Calls the loader itself: its wrapper flattens the arguments on each call, which takes as long as a module.
    return cast(_Module, aoti_load_package(str(path)).loader.run)


def _package_path(module: nn.Module, inputs: Sequence[Tensor], growing: int | None) -> Path:
    """Return the cache path of a module, by a hash of everything that its compiled code depends on."""
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
            shapes = [length if index == growing else None for index in range(len(inputs))]
        exported = torch.export.export(module.eval(), tuple(inputs), dynamic_shapes=shapes)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            package = Path(folder) / "module.pt2"
            try:
                # Read the number of threads at run time, not at compile time.
                aoti_compile_and_package(
                    exported,
                    package_path=str(package),
                    inductor_configs={"cpp.dynamic_threads": True},
                )
            except (InductorError, InvalidCxxCompiler) as error:
                cause = str(error).partition("\n")[0]
                raise CompileError(
                    f"compiling needs a C++ compiler that works, got {cause}; install g++, or run without compiling"
                ) from error
            package.replace(path)  # atomic: no reader sees half a file


_CODE = [
    inspect.getsource(source) for source in (compiled_modules, layers, expert_choice, _compile)
]
"""The source code that determines what a module computes and how it is compiled."""
