"""What a configuration must satisfy: ranges, and fields that contradict each other.

Called by `MoRConfig` itself after every field is typed. Every refusal names field, rule, value and remedy.
"""

import dataclasses
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mor_core.model.config import MoRConfig

_COUNTS = (
    "num_layers_per_recursion",
    "num_recursions",
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "num_key_value_heads",
    "max_position_embeddings",
    "num_experts",
)
_ABOVE_ZERO = (
    "rope_theta",
    "rms_norm_eps",
    "router_alpha",
    "router_temperature",
    "router_bias_update_rate",
    "expert_capacity_factor",
)
_NOT_NEGATIVE = (
    "num_prelude_layers",
    "num_coda_layers",
    "initializer_range",
    "router_aux_loss_coef",
    "router_z_loss_coef",
    "router_balancing_loss_coef",
    "expert_balancing_loss_coef",
    "expert_z_loss_coef",
)
_MOST_LAYERS = 10_000
_EXPERT_CHOICE_FIELDS = ("capacity_factors", "router_supervision")
_TOKEN_CHOICE_FIELDS = ("router_balancing", "router_gated_steps")
ROUTER_FIELDS = (*_EXPERT_CHOICE_FIELDS, *_TOKEN_CHOICE_FIELDS, "router_control")


def check_config(config: "MoRConfig") -> None:
    """Refuse what no model can be built from.

    Raises:
        ValueError: names the field, the rule, the value and the remedy.
    """
    for name in _COUNTS:
        if getattr(config, name) < 1:
            raise ValueError(f"{name} must be at least 1, got {getattr(config, name)}")
    for name in _ABOVE_ZERO:
        if not 0 < getattr(config, name) < math.inf:
            raise ValueError(f"{name} must be above 0 and finite, got {getattr(config, name)}")
    for name in _NOT_NEGATIVE:
        if not 0 <= getattr(config, name) < math.inf:
            raise ValueError(
                f"{name} must not be negative or infinite, got {getattr(config, name)}"
            )
    if config.num_hidden_layers > _MOST_LAYERS:
        raise ValueError(
            f"num_hidden_layers (prelude + recursions x layers + coda) must be at most {_MOST_LAYERS}, "
            f"got {config.num_hidden_layers}; make the model shallower"
        )
    _check_attention(config)
    _check_sharing(config)
    if config.has_router:
        _check_router(config)
    else:
        _refuse_fields(config, "a router", 'router_type="expert_choice"', ROUTER_FIELDS)
    if config.capacity_factors is not None:
        _check_capacities(config, config.capacity_factors)


def _check_attention(config: "MoRConfig") -> None:
    if config.head_dim is None and config.hidden_size % config.num_attention_heads:
        raise ValueError(
            f"hidden_size must be a multiple of num_attention_heads={config.num_attention_heads}, "
            f"got {config.hidden_size}; set head_dim to choose the width of a head yourself"
        )
    if config.attention_head_dim % 2:
        raise ValueError(
            f"head_dim must be even for rotary embeddings, got {config.attention_head_dim}"
        )
    if config.num_attention_heads % config.num_key_value_heads:
        raise ValueError(
            f"num_attention_heads must be a multiple of num_key_value_heads="
            f"{config.num_key_value_heads}, got {config.num_attention_heads}"
        )


def _check_sharing(config: "MoRConfig") -> None:
    if config.has_router and config.sharing == "sequence":
        raise ValueError(
            'sharing="sequence" repeats each layer in place, so there is no recursion to route; '
            'use sharing="cycle" or router_type="none"'
        )
    if config.kv_strategy == "shared_updated" and config.sharing == "sequence":
        raise ValueError(
            'kv_strategy="shared_updated" needs sharing="cycle": it updates what a recursion\'s tokens see'
        )
    if config.has_router and config.num_experts > 1:
        raise ValueError(
            f"num_experts must be 1 with a router, got {config.num_experts}: Mixture-of-Experts is the baseline "
            'that spends the same on every token; use router_type="none"'
        )
    if config.recursion_specific and config.num_recursions == 1:
        raise ValueError(
            f"recursion_specific needs several recursions, got {config.recursion_specific} with num_recursions=1"
        )
    if len(set(config.recursion_specific)) < len(config.recursion_specific):
        raise ValueError(
            f"recursion_specific must name each part once, got {config.recursion_specific}"
        )


def _check_router(config: "MoRConfig") -> None:
    token_choice = config.router_type == "token_choice"
    allowed = ("softmax", "sigmoid") if token_choice else ("sigmoid", "tanh", "none")
    if config.router_activation not in allowed:
        raise ValueError(
            f"router_activation must be {' or '.join(allowed)} for {config.router_type}, "
            f"got {config.router_activation!r}"
        )
    if token_choice:
        _refuse_fields(
            config, "expert-choice", 'router_type="expert_choice"', _EXPERT_CHOICE_FIELDS
        )
        if config.num_recursions == 1:
            raise ValueError("num_recursions must be at least 2 for token_choice, got 1")
    else:
        _refuse_fields(config, "token-choice", 'router_type="token_choice"', _TOKEN_CHOICE_FIELDS)
    if token_choice and config.router_control == "random_scores":
        raise ValueError(
            'router_control must be "none" or "random_selection" for token_choice, got "random_scores"'
        )
    if config.router_gating == "additive" and config.router_gated_steps == "every":
        raise ValueError(
            'router_gated_steps="every" needs router_gating="weighted": additive gating scales nothing'
        )


def _check_capacities(config: "MoRConfig", factors: list[int | float]) -> None:
    if len(factors) != config.num_recursions:
        raise ValueError(
            f"capacity_factors must have num_recursions={config.num_recursions} entries, "
            f"got {len(factors)}: {factors}"
        )
    for index, factor in enumerate(factors):
        if not 0 < factor <= 1:
            raise ValueError(
                f"capacity_factors must lie above 0 and at most 1, got {factor} at recursion {index + 1}"
            )
        if index and factor > factors[index - 1]:
            raise ValueError(
                f"capacity_factors must not increase, got {factors[index - 1]} then {factor} "
                f"at recursion {index + 1}"
            )
    if config.kv_strategy != "recursion_wise" and factors[0] < 1:
        raise ValueError(
            f'kv_strategy="{config.kv_strategy}" needs every token at recursion 1 (a first capacity factor of 1), '
            f'got {factors[0]}; use kv_strategy="recursion_wise"'
        )


def _refuse_fields(config: "MoRConfig", owner: str, remedy: str, names: tuple[str, ...]) -> None:
    """Refuse settings that would be ignored: those of another kind of router that differ from their default."""
    defaults = {entry.name: entry.default for entry in dataclasses.fields(config)}
    for name in names:
        if getattr(config, name) != defaults[name]:
            raise ValueError(
                f"{name} belongs to {owner}, got {getattr(config, name)!r} with "
                f'router_type="{config.router_type}"; remove {name} or use {remedy}'
            )
