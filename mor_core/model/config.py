"""Every architectural choice of a model, typed, checked, and stored as Hugging Face `config.json`.

Contains no tensors. A plain Transformer is one recursion without a router; a recursive Transformer is
several without a router; a Mixture-of-Recursions model has a router.

Source: Mixture-of-Recursions, arXiv 2507.10524 (sections 2.1 and 2.2, Table 5).
"""

import dataclasses
import difflib
import inspect
import math
from dataclasses import field
from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig

from mor_core.common.field_rules import AT_LEAST_ONE, check_fields, must
from mor_core.model.router_types import ROUTER_TYPES, RouterName, RouterType

_ABOVE_ZERO = must("be above 0 and finite", lambda value: 0 < value < math.inf)
_NOT_NEGATIVE = must("not be negative or infinite", lambda value: 0 <= value < math.inf)


@strict
class MoRConfig(PreTrainedConfig):  # type: ignore[no-untyped-call]
    """A decoder made of a prelude, one shared block applied `num_recursions` times, and a coda.

    The paper's Cycle and Sequence sharing are `sharing` with no prelude and coda; Middle-Cycle and Middle-Sequence
    are the same with one prelude and one coda layer. `None` for `capacity_factors` means (R - r) / R at recursion r.
    More than one expert makes each feed-forward a Switch layer (arXiv 2101.03961). `router_control` makes the model a
    control: its selection is random and the gate is learned, or both are random (the official code's `rand_router`).
    `router_depth_price_coef` penalises depth, as the ponder cost of adaptive computation time (arXiv 1603.08983).
    `kv_strategy="shared_updated"` shows a recursion's active tokens with keys of that recursion (`update_cache`).

    Raises:
        StrictDataclassFieldValidationError: a field has the wrong type.
        StrictDataclassClassValidationError: two fields contradict each other (the reason is its `__cause__`).
        ValueError: an unknown field is given.
    """

    model_type = "mor"
    keys_to_ignore_at_inference = ["past_key_values"]

    # The stack: prelude -> (shared block) x num_recursions -> coda
    num_prelude_layers: int = field(default=1, metadata=_NOT_NEGATIVE)
    num_layers_per_recursion: int = field(default=2, metadata=AT_LEAST_ONE)
    num_recursions: int = field(default=3, metadata=AT_LEAST_ONE)
    num_coda_layers: int = field(default=1, metadata=_NOT_NEGATIVE)
    sharing: Literal["cycle", "sequence"] = "cycle"

    # Width (Hugging Face's names)
    vocab_size: int = field(default=4096, metadata=AT_LEAST_ONE)
    hidden_size: int = field(default=256, metadata=AT_LEAST_ONE)
    intermediate_size: int = field(default=704, metadata=AT_LEAST_ONE)
    num_attention_heads: int = field(default=4, metadata=AT_LEAST_ONE)
    num_key_value_heads: int = field(default=2, metadata=AT_LEAST_ONE)
    head_dim: int | None = None
    max_position_embeddings: int = field(default=512, metadata=AT_LEAST_ONE)
    rope_theta: int | float = field(default=10000.0, metadata=_ABOVE_ZERO)
    rms_norm_eps: float = field(default=1e-5, metadata=_ABOVE_ZERO)
    initializer_range: float = field(default=0.02, metadata=_NOT_NEGATIVE)
    tie_word_embeddings: bool = True

    # Parts that recursions do not share, as attention in official releases before September 2026
    recursion_specific: list[Literal["attention", "norms"]] = field(default_factory=list)

    # Router
    router_type: RouterName = "expert_choice"
    router_network: Literal["linear", "mlp", "wide_mlp"] = "linear"
    router_activation: Literal["sigmoid", "tanh", "softmax", "none"] = "sigmoid"
    router_alpha: int | float = field(default=0.1, metadata=_ABOVE_ZERO)
    router_temperature: int | float = field(default=1.0, metadata=_ABOVE_ZERO)
    router_gating: Literal["weighted", "additive"] = "weighted"
    router_control: Literal["none", "random_selection", "random_scores"] = "none"
    router_z_loss_coef: int | float = field(default=0.0, metadata=_NOT_NEGATIVE)

    # Expert-choice: shares of the sequence, and how the causal rule is learned
    capacity_factors: list[int | float] | None = None
    router_supervision: Literal["aux_loss", "aux_router"] = "aux_loss"
    router_aux_loss_coef: int | float = field(default=0.001, metadata=_NOT_NEGATIVE)
    router_depth_price_coef: int | float = field(default=0.0, metadata=_NOT_NEGATIVE)

    # Token-choice: how loads are kept even, and which of a token's recursions its gate scales
    router_balancing: Literal["loss", "loss_free"] = "loss"
    router_balancing_loss_coef: int | float = field(default=0.1, metadata=_NOT_NEGATIVE)
    router_bias_update_rate: int | float = field(default=0.001, metadata=_ABOVE_ZERO)
    router_gated_steps: Literal["final", "every"] = "final"

    # Mixture-of-Experts baseline: Switch experts in every feed-forward
    num_experts: int = field(default=1, metadata=AT_LEAST_ONE)
    expert_capacity_factor: int | float = field(default=1.25, metadata=_ABOVE_ZERO)
    expert_balancing_loss_coef: int | float = field(default=0.01, metadata=_NOT_NEGATIVE)
    expert_z_loss_coef: int | float = field(default=0.001, metadata=_NOT_NEGATIVE)

    # Key-value cache
    kv_strategy: Literal["recursion_wise", "shared", "shared_updated"] = "recursion_wise"
    use_cache: bool = True

    # Special tokens
    bos_token_id: int | None = 0
    eos_token_id: int | list[int] | None = 0
    pad_token_id: int | None = 0

    def __post_init__(self, **kwargs: Any) -> None:
        _refuse_unknown(type(self), kwargs)
        super().__post_init__(**kwargs)

    def replaced(self, **changes: Any) -> "MoRConfig":
        """Return a checked copy of the architecture with some fields changed."""
        inherited = {entry.name for entry in dataclasses.fields(PreTrainedConfig)}
        own = [entry.name for entry in dataclasses.fields(MoRConfig) if entry.name not in inherited]
        return MoRConfig(**{name: getattr(self, name) for name in own} | changes)

    @property
    def num_hidden_layers(self) -> int:
        """Unrolled depth: how many times a layer is applied to a token of full depth."""
        return (
            self.num_prelude_layers
            + self.num_recursions * self.num_layers_per_recursion
            + self.num_coda_layers
        )

    @property
    def has_router(self) -> bool:
        """Whether tokens choose their depth."""
        return self.router_type != "none"

    @property
    def router(self) -> RouterType:
        """What routers of this model's type can do."""
        return ROUTER_TYPES[self.router_type]

    @property
    def can_reuse_cache(self) -> bool:
        """Whether a later call can continue from the cache: not where recursions replace keys for one call only."""
        return self.kv_strategy != "shared_updated"

    @property
    def attention_head_dim(self) -> int:
        """Width of one attention head."""
        return self.head_dim or self.hidden_size // self.num_attention_heads

    @property
    def capacity_schedule(self) -> tuple[float, ...]:
        """Share of the sequence that each recursion takes in training; all ones without a router."""
        if not self.has_router:
            return (1.0,) * self.num_recursions
        if self.capacity_factors is not None:
            return tuple(float(factor) for factor in self.capacity_factors)
        return tuple(
            (self.num_recursions - index) / self.num_recursions
            for index in range(self.num_recursions)
        )

    def validate_architecture(self) -> None:
        """Check fields against each other; `@strict` calls this after it has checked the type of every field.

        Raises:
            ValueError: names the field, the rule, the value and the remedy.
        """
        check_config(self)


def _refuse_unknown(config_class: type[MoRConfig], given: dict[str, Any]) -> None:
    """Raise for keys that are neither fields nor part of Hugging Face's own bookkeeping."""
    known = set(inspect.signature(config_class.__init__).parameters)
    bookkeeping = {
        "attn_implementation",
        "experts_implementation",
        "model_type",
        "name_or_path",
        "num_labels",
        "torch_dtype",
        "transformers_version",
        "use_return_dict",
    }
    for key in given:
        if key in known or key in bookkeeping or key.startswith("_"):
            continue
        near = difflib.get_close_matches(key, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"MoRConfig has no field {key!r}{hint}")


AutoConfig.register("mor", MoRConfig)


_MOST_LAYERS = 10_000
_OWNERS = {name: kind for kind in reversed(ROUTER_TYPES.values()) for name in kind.fields}
"""For each field that only some router types accept: the first type that accepts it."""
ROUTER_FIELDS = (*_OWNERS, "router_control")


def check_config(config: "MoRConfig") -> None:
    """Check every field, and fields against each other.

    Raises:
        ValueError: names the field, the rule, the value and the remedy.
    """
    check_fields(MoRConfig, vars(config), "")
    if config.num_hidden_layers > _MOST_LAYERS:
        raise ValueError(
            f"num_hidden_layers (prelude + recursions x layers + coda) must be at most {_MOST_LAYERS}, "
            f"got {config.num_hidden_layers}; make the model shallower"
        )
    _check_attention(config)
    _check_sharing(config)
    _check_router(config)
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
            'kv_strategy="shared_updated" needs sharing="cycle": it replaces the keys of a recursion\'s active tokens'
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
    kind = config.router
    if not config.has_router:
        for name in ROUTER_FIELDS:
            _refuse_field(config, name, "a router", "expert_choice")
        return
    if config.router_activation not in kind.activations:
        raise ValueError(
            f"router_activation must be {' or '.join(kind.activations)} for {kind.name}, "
            f"got {config.router_activation!r}"
        )
    if config.router_network not in kind.networks:
        raise ValueError(
            f"router_network must be {' or '.join(kind.networks)} for {kind.name}, got {config.router_network!r}"
        )
    for name, owner in _OWNERS.items():
        if name not in kind.fields:
            _refuse_field(config, name, owner.title, owner.name)
    if config.num_recursions < kind.min_recursions:
        raise ValueError(
            f"num_recursions must be at least {kind.min_recursions} for {kind.name}, got {config.num_recursions}"
        )
    if config.router_control not in kind.controls:
        allowed = " or ".join(f'"{name}"' for name in kind.controls)
        raise ValueError(
            f'router_control must be {allowed} for {kind.name}, got "{config.router_control}"'
        )
    _check_router_options(config)


def _check_router_options(config: "MoRConfig") -> None:
    """Check router options against each other."""
    if config.router_depth_price_coef and config.router_control != "none":
        raise ValueError(
            f"router_depth_price_coef needs a router whose scores decide, got {config.router_depth_price_coef} with "
            f'router_control="{config.router_control}"; leave it out'
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


def _refuse_field(config: "MoRConfig", name: str, owner: str, router_type: str) -> None:
    """Raise for a setting that would be ignored: a field of another router type that differs from its default."""
    if getattr(config, name) != _DEFAULTS[name]:
        raise ValueError(
            f"{name} belongs to {owner}, got {getattr(config, name)!r} with "
            f'router_type="{config.router_type}"; remove {name} or use router_type="{router_type}"'
        )


_DEFAULTS = {entry.name: entry.default for entry in dataclasses.fields(MoRConfig)}
