"""The paper's models as configurations, and the paper's own count of their FLOPs.

The paper does not count as `accounting.py` does: it leaves out head and router, takes keys and values to be as wide as
queries, and counts half of attention (a query sees the keys before it). Its budgets are of forward passes only. These
conventions reproduce its numbers of steps.

Source: arXiv 2507.10524, Table 6 (shapes), Appendix D and E (depths), section 3.1; formula recovered from the official
code's configurations.
"""

from typing import Any, Literal, get_args

from mor_core.model.accounting import mlp_parameters
from mor_core.model.config import MoRConfig
from mor_core.model.layer_schedule import layer_schedule
from mor_core.model.router_types import RouterName

PaperName = Literal["135M", "360M", "730M", "1.7B"]

TOKENS_PER_STEP = 1024 * 2048
"""The paper's batch: 1024 sequences of 2048 tokens."""
BUDGET_FLOPS = 16.5e18
"""The budget of the paper's main table, in forward FLOPs."""
BUDGETS = (2e18, 5e18, BUDGET_FLOPS)
"""All budgets at which the paper compares models, in forward FLOPs (section 3.1)."""
PUBLISHED_STEPS = {
    # size, recursions, router, cache: steps in the official configurations for the largest budget
    ("360M", 1, "none", "recursion_wise"): 9438,
    ("360M", 2, "none", "recursion_wise"): 9438,
    ("360M", 3, "none", "recursion_wise"): 9438,
    ("360M", 4, "none", "recursion_wise"): 8883,
    ("360M", 2, "expert_choice", "recursion_wise"): 12619,
    ("360M", 3, "expert_choice", "recursion_wise"): 14161,
    ("360M", 4, "expert_choice", "recursion_wise"): 14216,
    ("360M", 3, "expert_choice", "shared"): 14672,
    ("360M", 3, "token_choice", "recursion_wise"): 14161,
}

_CONTEXT = 2048
_SHAPES: dict[str, tuple[int, int, int, int, int]] = {
    # layers, hidden size, query heads, key/value heads, feed-forward width
    "135M": (30, 576, 9, 3, 1536),
    "360M": (32, 960, 15, 5, 2560),
    "730M": (26, 1536, 24, 8, 4096),
    "1.7B": (24, 2048, 32, 32, 8192),
}

_ROUTER_SETTINGS: dict[str, dict[str, Any]] = {
    "token_choice": {"router_activation": "softmax", "router_alpha": 1.0}
}


def paper_config(
    name: PaperName,
    num_recursions: int = 1,
    router_type: RouterName = "none",
    kv_strategy: Literal["recursion_wise", "shared", "shared_updated"] = "recursion_wise",
) -> MoRConfig:
    """Return one of the paper's models: plain for one recursion, else Middle-Cycle.

    Where the number of layers between the first and the last is not a multiple of the recursions, it is rounded up to
    one. That gives every depth that the paper states: 135M with 3 recursions has 32 layers, 360M with 4 has 34, 1.7B
    with 3 has 26; 135M with 2, 360M with 2 and 3, 730M with 3 and 1.7B with 2 keep the plain model's. For all other
    combinations the rule is our own choice (1.7B with 4 gets 26).

    Raises:
        ValueError: the name is unknown, or a router is given with one recursion.
    """
    if name not in _SHAPES:
        raise ValueError(f"name must be one of {', '.join(get_args(PaperName))}, got {name!r}")
    if num_recursions == 1 and router_type != "none":
        raise ValueError(
            f'num_recursions must be at least 2 with a router, got 1 with router_type="{router_type}"'
        )
    layers, hidden_size, heads, key_value_heads, intermediate_size = _SHAPES[name]
    stack: dict[str, Any] = {
        "num_prelude_layers": 0,
        "num_coda_layers": 0,
        "num_layers_per_recursion": layers,
    }
    if num_recursions > 1:
        stack = {
            "num_prelude_layers": 1,
            "num_coda_layers": 1,
            "num_layers_per_recursion": -(-(layers - 2) // num_recursions),  # rounded up
        }
    return MoRConfig(
        **stack,
        **_ROUTER_SETTINGS.get(router_type, {}),
        num_recursions=num_recursions,
        router_type=router_type,
        kv_strategy=kv_strategy,
        hidden_size=hidden_size,
        num_attention_heads=heads,
        num_key_value_heads=key_value_heads,
        intermediate_size=intermediate_size,
        vocab_size=49152,
        max_position_embeddings=_CONTEXT,
    )


def paper_forward_flops_per_token(config: MoRConfig, context: int = _CONTEXT) -> float:
    """Count one token's forward pass as the paper does: the mean over the tokens of a full context.

    A layer whose recursion takes the share c of the tokens costs `weights * c + 2 * d * context * c**2`, where each
    weight is 2 FLOPs and d is the hidden size; where it reads the keys of recursion 1, the key and value
    projections are left out and attention is `2 * d * context * c`.

    Raises:
        ValueError: `kv_strategy="shared_updated"` or Switch experts, which the paper does not count.
    """
    if config.kv_strategy == "shared_updated" or config.num_experts > 1:
        raise ValueError(
            'kv_strategy must be "recursion_wise" or "shared" and num_experts 1, got '
            f'"{config.kv_strategy}" and {config.num_experts}: the paper has no formula for others; '
            "use accounting.active_flops"
        )
    width = config.hidden_size
    total = 0.0
    for call in layer_schedule(config):
        share = 1.0 if call.recursion_idx is None else config.capacity_schedule[call.recursion_idx]
        weights = 4 * width * width + mlp_parameters(config)
        visible = share
        if not call.writes_cache:
            weights -= 2 * width * width
            visible = 1.0
        total += share * (2 * weights + 2 * width * context * visible)
    return total


def paper_steps(
    config: MoRConfig,
    budget_flops: float = BUDGET_FLOPS,
    *,
    tokens_per_step: int = TOKENS_PER_STEP,
    context: int = _CONTEXT,
) -> float:
    """Return how many optimiser steps a budget pays for; the paper's budgets are of forward passes only."""
    return budget_flops / (paper_forward_flops_per_token(config, context) * tokens_per_step)
