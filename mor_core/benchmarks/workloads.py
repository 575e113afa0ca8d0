"""Workloads that several benchmarks share: random models of a given shape, random routing, least costs, training steps.

Speed and memory depend on the shapes and on how many tokens take each recursion, not on the values of the weights.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from mor_core.benchmarks.harness import Side
from mor_core.benchmarks.roofline import Cost
from mor_core.model.accounting import layer_flops, mlp_parameters, vanilla_config
from mor_core.model.config import MoRConfig
from mor_core.model.layer_schedule import LayerCall, layer_schedule
from mor_core.model.model import MoRForCausalLM
from mor_core.model.paper import PaperName, paper_config
from mor_core.model.routing_rules import RoutingRule
from mor_core.training.optim import make_optimiser
from mor_core.training.recipe import OptimiserSection

DEMO = MoRConfig(
    num_layers_per_recursion=2,
    hidden_size=256,
    intermediate_size=704,
    num_attention_heads=4,
    num_key_value_heads=2,
    vocab_size=4096,
    max_position_embeddings=512,
)
"""The shape of the bundled demo model."""
RANDOM_WEIGHTS = "random weights at this shape; random routing at the capacity schedule"


def shape(name: PaperName, num_recursions: int, *, context: int | None = None) -> MoRConfig:
    """Return one of the paper's shapes, as expert-choice MoR, or as a plain Transformer for one recursion."""
    config = paper_config(name, num_recursions, "expert_choice" if num_recursions > 1 else "none")
    return config if context is None else config.replaced(max_position_embeddings=context)


def peer_config(config: MoRConfig) -> MoRConfig:
    """Return the config of the vanilla peer, with the same widths and unrolled depth."""
    return vanilla_config(config)


def random_model(
    config: MoRConfig, device: str = "cpu", dtype: str = "float32", seed: int = 0
) -> MoRForCausalLM:
    """Return a model of this shape in evaluation mode, the same for the same seed."""
    torch.manual_seed(seed)
    model = MoRForCausalLM(config).eval()
    return model.to(torch.device(device), getattr(torch, dtype))  # type: ignore[arg-type]


def random_rule(config: MoRConfig, seed: int = 0) -> RoutingRule | None:
    """Return random routing with the depth shares of the capacity schedule; `None` without a router.

    The gate is open, since an untrained router's gate would scale the block at random.
    """
    return RoutingRule.random(seed, gate="open") if config.has_router else None


def random_tokens(config: MoRConfig, batch_size: int, length: int, device: str = "cpu") -> Tensor:
    """Return ids (batch_size, length), the same for the same shape."""
    generator = torch.Generator().manual_seed(length)
    ids = torch.randint(1, config.vocab_size, (batch_size, length), generator=generator)
    return ids.to(device)


def step_side(
    name: str,
    model: MoRForCausalLM,
    ids: Tensor,
    settings: OptimiserSection,
    *,
    passes: int = 1,
    costs: Sequence[Cost] = (),
) -> Side:
    """Return a side that takes whole training steps: forward, backward, clipping, optimiser.

    Args:
        name: of the side.
        model: in training mode.
        ids: (rows, S) that each pass reads.
        settings: of the optimiser, as in a recipe.
        passes: forward and backward passes whose gradients are accumulated in one step.
        costs: the least cost of a step.
    """
    optimiser = make_optimiser(model, settings, model.device)
    weights = list(model.parameters())

    def step() -> None:
        for _ in range(passes):
            loss = model(input_ids=ids, labels=ids).loss
            assert loss is not None
            (loss / passes).backward()
        torch.nn.utils.clip_grad_norm_(weights, settings.gradient_clip)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    return Side(name, step, work=passes * ids.numel(), costs=costs)


def prefill_costs(
    config: MoRConfig, num_tokens: int, active_counts: Sequence[int], num_logits: int, itemsize: int
) -> list[Cost]:
    """Return the least cost of a prefill, for each layer call and the head.

    Causal attention needs half of the scores that `accounting.active_flops` counts; each layer call reads its weights
    once.
    """
    costs = []
    for call in layer_schedule(config):
        queries, keys = visible_counts(config, call, num_tokens, active_counts)
        square = layer_flops(config, queries, keys, projects_keys=call.computes_keys)
        linear = layer_flops(config, queries, 0, projects_keys=call.computes_keys)
        weights = layer_parameters(config, projects_keys=call.computes_keys)
        moved = 2 * queries * config.hidden_size
        costs.append(Cost((square + linear) / 2, itemsize * (weights + moved)))
    head = config.vocab_size * config.hidden_size
    return [*costs, Cost(2 * num_logits * head, itemsize * head)]


def decode_costs(
    config: MoRConfig, context: int, held: Sequence[int], rows: int, itemsize: int
) -> list[Cost]:
    """Return the expected least cost of one decode step of `rows` sequences, with depths from the capacity schedule.

    A layer call reads its weights if at least one row is active, which happens with probability 1 - (1 - share)^rows;
    each active row reads its own keys and values.

    Args:
        config: of the model.
        context: tokens before the new one.
        held: cache entries of a row at each recursion.
        rows: sequences in the step.
        itemsize: bytes per number.
    """
    costs = []
    entry = 2 * config.num_key_value_heads * config.attention_head_dim
    for call in layer_schedule(config):
        share, keys = 1.0, context
        if call.recursion_idx is not None and config.has_router:
            share = config.capacity_schedule[call.recursion_idx]
            keys = held[call.recursion_idx if config.kv_strategy == "recursion_wise" else 0]
        flops = rows * share * layer_flops(config, 1, keys + 1, projects_keys=call.computes_keys)
        any_active = 1 - (1 - share) ** rows
        weights = any_active * layer_parameters(config, projects_keys=call.computes_keys)
        costs.append(Cost(flops, itemsize * (weights + rows * share * (keys + 1) * entry)))
    head = config.vocab_size * config.hidden_size
    return [*costs, Cost(2 * rows * head, itemsize * head)]


def visible_counts(
    config: MoRConfig, call: LayerCall, num_tokens: int, active_counts: Sequence[int]
) -> tuple[int, int]:
    """Return the number of queries and of keys of a layer call in a prefill."""
    if call.recursion_idx is None or not config.has_router:
        return num_tokens, num_tokens
    shared = config.kv_strategy != "recursion_wise"
    return active_counts[call.recursion_idx], active_counts[0 if shared else call.recursion_idx]


def layer_parameters(config: MoRConfig, *, projects_keys: bool = True) -> int:
    """Return the number of weights that one layer call reads."""
    query_width = config.num_attention_heads * config.attention_head_dim
    key_width = config.num_key_value_heads * config.attention_head_dim
    own = 2 * query_width + (2 * key_width if projects_keys else 0)
    return config.hidden_size * own + mlp_parameters(config)
