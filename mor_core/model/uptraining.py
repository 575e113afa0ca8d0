"""Folds a plain Transformer into recursions: the starting point of up-training.

`source_layers` lists the source layers that initialise each shared layer; the weights are their mean.

Source: arXiv 2507.10524, Table 12 (up-training); the initialisations are those of arXiv 2410.20672.
"""

import re
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from mor_core.model.config import MoRConfig
from mor_core.model.layer_schedule import layer_schedule, layers_per_recursion
from mor_core.model.model import MoRForCausalLM

Init = Literal["stepwise", "average", "lower", "upper", "random"]
Sharing = Literal["cycle", "sequence"]


def recursive_start(
    model: MoRForCausalLM,
    *,
    num_recursions: int,
    init: Init,
    sharing: Sharing = "cycle",
    middle: bool = True,
    router: Literal["none", "expert_choice"] = "none",
    seed: int = 0,
) -> MoRForCausalLM:
    """Build a recursive or Mixture-of-Recursions model from a plain one, which is not changed.

    Embedding, final norm and head are copied; routers are new. A router's gate scales what each recursion adds, so
    even one recursion with a router differs from the plain model.

    Args:
        model: one recursion, no router.
        num_recursions: how often the shared block runs.
        init: which source layers initialise the shared ones, see `source_layers`.
        sharing: how the shared layers repeat.
        middle: keep the first layer as prelude and the last as coda.
        router: the router type of the new model.
        seed: for the routers' weights, and for the choice of layers by `init="random"`.

    Raises:
        ValueError: the model is not plain, its layers are not divisible by the recursions, or an option is unknown.
    """
    plain = _plain_layers(model)
    sources = source_layers(
        len(plain), num_recursions, init, sharing=sharing, middle=middle, seed=seed
    )
    config: MoRConfig = model.config.replaced(
        num_prelude_layers=int(middle),
        num_coda_layers=int(middle),
        num_layers_per_recursion=len(sources),
        num_recursions=num_recursions,
        sharing=sharing,
        router_type=router,
    )
    weights = {
        name: tensor
        for name, tensor in model.state_dict().items()
        if not re.match(r"model\.(prelude|shared|coda)\.", name)
    }
    if middle:
        weights |= _under("model.prelude.0", plain[0]) | _under("model.coda.0", plain[-1])
    for index, numbers in enumerate(sources):
        weights |= _under(f"model.shared.{index}", _mean([plain[number] for number in numbers]))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        start = MoRForCausalLM(config)
    # transformers wraps `to` in a way that hides its signature.
    start = start.to(device=model.device, dtype=model.dtype)  # type: ignore[call-arg]
    missing, unexpected = start.load_state_dict(weights, strict=False)
    assert not unexpected, unexpected
    assert all(name.startswith("model.routers.") for name in missing), missing
    return start.train(model.training)


def source_layers(
    num_hidden_layers: int,
    num_recursions: int,
    init: Init,
    *,
    sharing: Sharing = "cycle",
    middle: bool = True,
    seed: int = 0,
) -> list[list[int]]:
    """List, for each shared layer, the source layers (from 0) whose mean initialises it.

    `stepwise` spreads them evenly from the first to the last that may be shared, `lower` and `upper` take the block
    at either end, `random` draws without repetition and sorts; each of these gives one source per layer. `average`
    gives all layers that the shared layer replaces.

    Raises:
        ValueError: the layers are not divisible by the recursions, or an option is unknown.
    """
    for name, value, known in (("init", init, Init), ("sharing", sharing, Sharing)):
        if value not in get_args(known):
            raise ValueError(f"{name} must be one of {', '.join(get_args(known))}, got {value!r}")
    block = layers_per_recursion(num_hidden_layers, num_recursions, middle)
    first, end = int(middle), num_hidden_layers - int(middle)
    if init == "average":
        if sharing == "cycle":
            return [list(range(first + layer, end, block)) for layer in range(block)]
        starts = range(first, end, num_recursions)
        return [list(range(start, start + num_recursions)) for start in starts]
    if init == "stepwise":
        chosen = [round(float(place)) for place in np.linspace(first, end - 1, block)]
    elif init == "random":
        generator = np.random.default_rng(seed)
        chosen = sorted(generator.choice(range(first, end), block, replace=False).tolist())
    else:
        start = first if init == "lower" else end - block
        chosen = list(range(start, start + block))
    return [[number] for number in chosen]


def _plain_layers(model: MoRForCausalLM) -> list[dict[str, Tensor]]:
    """Return the weights of each layer in the order in which they run."""
    config: MoRConfig = model.config
    if config.has_router or config.num_recursions > 1:
        raise ValueError(
            "num_recursions must be 1 and router_type none in the model to start from, "
            f'got {config.num_recursions} and "{config.router_type}"; start from a plain model'
        )
    stages = {
        "prelude": model.model.prelude,
        "shared": model.model.shared,
        "coda": model.model.coda,
    }
    return [stages[call.stage][call.layer_idx].state_dict() for call in layer_schedule(config)]


def _mean(layers: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Average weight by weight, in float32."""
    if len(layers) == 1:
        return layers[0]
    return {
        name: torch.stack([layer[name].float() for layer in layers]).mean(dim=0)
        for name in layers[0]
    }


def _under(prefix: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in weights.items()}
