"""The other KV strategy on a model that was trained with one of them: an experiment, and named as one.

Which keys a deeper recursion reads decides no shape, so the same weights run under either; what they learned to read
is the trained one's.
"""

import dataclasses

import torch
from huggingface_hub.errors import StrictDataclassError

from mor_core.checkpoints.checkpoint import LoadedCheckpoint
from mor_core.model.model import MoRForCausalLM


def with_kv_strategy(loaded: LoadedCheckpoint, kv_strategy: str) -> LoadedCheckpoint:
    """Return the checkpoint with a model that keeps its keys otherwise; it shares the weights of the one given.

    Args:
        loaded: the checkpoint; it stays as it is.
        kv_strategy: `recursion_wise` or `shared`.

    Raises:
        ValueError: no such strategy, or the model cannot follow it.
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
