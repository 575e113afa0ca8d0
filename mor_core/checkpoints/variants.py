"""Experiments: runs trained weights under a setting that they were not trained with.

More recursions: the shared block can be applied any number of times, and the last router scores the recursions beyond
the trained ones. The paper (arXiv 2507.10524, Figure 5c) does not go beyond the trained number.
The other KV strategy: it changes which keys a deeper recursion reads but no shape, so the same weights run under both.
"""

import dataclasses

import torch
from huggingface_hub.errors import StrictDataclassError

from mor_core.checkpoints.checkpoint import LoadedCheckpoint
from mor_core.model.config import MoRConfig
from mor_core.model.model import MoRForCausalLM


def deeper_config(config: MoRConfig, num_recursions: int) -> MoRConfig:
    """Return the configuration with more recursions; the added ones get the capacity of the last trained one.

    Raises:
        ValueError: fewer recursions than trained, or the router type cannot score further recursions.
    """
    trained = config.num_recursions
    if num_recursions < trained:
        raise ValueError(
            f"recursions must be at least the trained {trained}, got {num_recursions}; "
            "for fewer use routing fixed:D, which leaves the model unchanged"
        )
    if not config.router.can_go_deeper and num_recursions > trained:
        raise ValueError(
            f"recursions must be the trained {trained} for {config.router.title}, got {num_recursions}: its "
            "router scores no other depths"
        )
    capacities: list[int | float] | None = None
    if "capacity_factors" in config.router.fields:
        schedule = config.capacity_schedule
        capacities = [*schedule, *schedule[-1:] * (num_recursions - trained)]
    return config.replaced(num_recursions=num_recursions, capacity_factors=capacities)


def with_recursions(loaded: LoadedCheckpoint, num_recursions: int) -> LoadedCheckpoint:
    """Return the checkpoint with a model of more recursions, which shares the weights of the given one.

    Raises:
        ValueError: as in `deeper_config`.
    """
    config = deeper_config(loaded.model.config, num_recursions)
    if num_recursions == loaded.model.config.num_recursions:
        return loaded
    trained = loaded.model.config.num_recursions
    weights = dict(loaded.model.state_dict())
    for index in range(trained, num_recursions):
        for new, last in (
            (f"model.routers.{index}.", f"model.routers.{trained - 1}."),
            (f"model.recursion_parts.{index - 1}.", f"model.recursion_parts.{trained - 2}."),
        ):
            found = {name: tensor for name, tensor in weights.items() if name.startswith(last)}
            weights |= {new + name.removeprefix(last): tensor for name, tensor in found.items()}
    with torch.device("meta"):
        deeper = MoRForCausalLM(config)
    deeper.load_state_dict(weights, assign=True)
    deeper.tie_weights()
    changed = {"num_recursions": num_recursions, "capacity_factors": config.capacity_factors}
    return dataclasses.replace(
        loaded,
        model=deeper.eval(),
        info=dataclasses.replace(loaded.info, config=loaded.info.config | changed),
        trained_recursions=trained,
    )


def with_kv_strategy(loaded: LoadedCheckpoint, kv_strategy: str) -> LoadedCheckpoint:
    """Return the checkpoint with a model under another KV strategy, which shares the weights of the given one.

    Args:
        loaded: the checkpoint; it is not changed.
        kv_strategy: `recursion_wise` or `shared`.

    Raises:
        ValueError: there is no such strategy, or the model does not support it.
    """
    config = loaded.model.config
    if kv_strategy == config.kv_strategy:
        return loaded
    try:
        changed_config = config.replaced(kv_strategy=kv_strategy)
    except StrictDataclassError as error:
        raise ValueError(f"kv_strategy {kv_strategy!r} does not fit this model: {error}") from error
    with torch.device("meta"):
        variant = MoRForCausalLM(changed_config)
    variant.load_state_dict(dict(loaded.model.state_dict()), assign=True)
    variant.tie_weights()
    changed = loaded.info.config | {"kv_strategy": kv_strategy}
    return dataclasses.replace(
        loaded,
        model=variant.eval(),
        info=dataclasses.replace(loaded.info, config=changed),
        trained_kv_strategy=config.kv_strategy,
    )
