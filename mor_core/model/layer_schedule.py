"""The order of the layer calls, and the cache slot of each.

The model runs this table, the cache takes its slots from it and the accounting sums over it, so the three cannot
disagree.
"""

from dataclasses import dataclass
from typing import Literal

from mor_core.model.config import MoRConfig

Stage = Literal["prelude", "shared", "coda"]


@dataclass(frozen=True)
class LayerCall:
    """One application of one layer.

    Attributes:
        stage: the part of the stack; also the name of the module list that `layer_idx` indexes.
        layer_idx: the layer of that list.
        recursion_idx: 0-based recursion, `None` outside the shared block.
        cache_slot: where its keys and values are stored.
        writes_cache: False where the keys of recursion 1 are reused (recursive KV sharing).
        computes_keys: False where only reused keys are read. True without `writes_cache` where a recursion's active
            tokens replace their keys for this recursion only.
    """

    stage: Stage
    layer_idx: int
    recursion_idx: int | None
    cache_slot: int
    writes_cache: bool
    computes_keys: bool


def layer_schedule(config: MoRConfig) -> tuple[LayerCall, ...]:
    """List the layer calls of one token of full depth, in order.

    Source: arXiv 2507.10524, Table 5 (sharing) and section 2.2 (KV strategies).
    """
    # Read once: an attribute of a Hugging Face config takes microseconds.
    block, recursions = config.num_layers_per_recursion, config.num_recursions
    is_cycle = config.sharing == "cycle"
    shares_keys = config.kv_strategy != "recursion_wise"
    updates_keys = config.kv_strategy == "shared_updated"
    calls = [
        LayerCall("prelude", layer, None, layer, writes_cache=True, computes_keys=True)
        for layer in range(config.num_prelude_layers)
    ]
    first_shared = len(calls)
    for step in range(recursions * block):
        if is_cycle:
            recursion, layer = divmod(step, block)
        else:
            layer, recursion = divmod(step, recursions)
        slot = first_shared + (layer if shares_keys else step)
        writes = recursion == 0 or not shares_keys
        computes = writes or updates_keys
        calls.append(LayerCall("shared", layer, recursion, slot, writes, computes))
    first_coda = max((call.cache_slot for call in calls), default=-1) + 1
    calls += [
        LayerCall("coda", layer, None, first_coda + layer, writes_cache=True, computes_keys=True)
        for layer in range(config.num_coda_layers)
    ]
    return tuple(calls)


def num_cache_slots(config: MoRConfig) -> int:
    """Return how many (recursion, layer) pairs keep keys and values."""
    return len({call.cache_slot for call in layer_schedule(config)})


def layers_per_recursion(num_hidden_layers: int, num_recursions: int, middle: bool) -> int:
    """Return how many layers each recursion gets when a stack is folded into recursions; every layer is used.

    Args:
        num_hidden_layers: layers of the stack.
        num_recursions: how often the shared block runs.
        middle: the first and the last layer are not shared, as in the paper's Middle-Cycle and Middle-Sequence.

    Raises:
        ValueError: the layers are not divisible by the recursions; the message names the nearest counts that are.
    """
    if num_recursions < 1:
        raise ValueError(f"num_recursions must be at least 1, got {num_recursions}")
    ends = 2 if middle else 0
    block, left = divmod(num_hidden_layers - ends, num_recursions)
    if block >= 1 and not left:
        return block
    nearest = [ends + num_recursions * count for count in (block, block + 1) if count >= 1]
    nearest = nearest or [ends + num_recursions]
    outside = "2 (the first and the last) and " if middle else ""
    raise ValueError(
        f"num_hidden_layers must be {outside}a multiple of num_recursions={num_recursions}, got {num_hidden_layers}; "
        f"the nearest that divides is {' or '.join(map(str, nearest))}"
    )
