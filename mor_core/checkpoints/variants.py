"""More recursions at inference than a model was trained with: an experiment, and named as one.

The shared block can be applied any number of times; the recursions beyond the trained ones are judged by the last
router. Nothing was trained for this. The paper (arXiv 2507.10524, Figure 5c) goes no further than the trained number.
"""

import dataclasses

import torch

from mor_core.checkpoints.checkpoint import LoadedCheckpoint
from mor_core.model.config import MoRConfig
from mor_core.model.model import MoRForCausalLM


def deeper_config(config: MoRConfig, num_recursions: int) -> MoRConfig:
    """Return the configuration with more recursions; those that are new have the last one's capacity.

    Raises:
        ValueError: fewer than trained, or the model cannot go deeper.
    """
    trained = config.num_recursions
    if num_recursions < trained:
        raise ValueError(
            f"recursions must be at least the trained {trained}, got {num_recursions}; "
            "for fewer use routing fixed:D, which leaves the model as it is"
        )
    if config.router_type == "token_choice" and num_recursions > trained:
        raise ValueError(
            f"recursions must be the trained {trained} for token-choice, got {num_recursions}: its router scores "
            "no other depths"
        )
    capacities: list[int | float] | None = None
    if config.router_type == "expert_choice":
        schedule = config.capacity_schedule
        capacities = [*schedule, *schedule[-1:] * (num_recursions - trained)]
    return config.replaced(num_recursions=num_recursions, capacity_factors=capacities)


def with_recursions(loaded: LoadedCheckpoint, num_recursions: int) -> LoadedCheckpoint:
    """Return the checkpoint with a model of more recursions; it shares the weights of the one given.

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
