"""Every architectural choice of a model, typed, checked, and stored as Hugging Face `config.json`.

Knows nothing of tensors. A plain Transformer is one recursion without a router; a recursive Transformer is
several without a router; a Mixture-of-Recursions model has a router.

Source: Mixture-of-Recursions, arXiv 2507.10524 (sections 2.1 and 2.2, Table 5).
"""

import dataclasses
import difflib
import inspect
from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig


@strict
class MoRConfig(PreTrainedConfig):  # type: ignore[no-untyped-call]
    """A decoder made of a prelude, one shared block applied `num_recursions` times, and a coda.

    The paper's Cycle and Sequence sharing are `sharing` with no prelude and coda; Middle-Cycle and Middle-Sequence
    are the same with one prelude and one coda layer. `None` for `capacity_factors` means (R - r) / R at recursion r.

    Raises:
        StrictDataclassFieldValidationError: a field has the wrong type.
        StrictDataclassClassValidationError: two fields contradict each other (the reason is its `__cause__`).
        ValueError: an unknown field is given.
    """

    model_type = "mor"
    keys_to_ignore_at_inference = ["past_key_values"]

    # The stack: prelude -> (shared block) x num_recursions -> coda
    num_prelude_layers: int = 1
    num_layers_per_recursion: int = 2
    num_recursions: int = 3
    num_coda_layers: int = 1
    sharing: Literal["cycle", "sequence"] = "cycle"

    # Width (Hugging Face's names)
    vocab_size: int = 4096
    hidden_size: int = 256
    intermediate_size: int = 704
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    head_dim: int | None = None
    max_position_embeddings: int = 512
    rope_theta: int | float = 10000.0
    rms_norm_eps: float = 1e-5
    initializer_range: float = 0.02
    tie_word_embeddings: bool = True

    # Router
    router_type: Literal["none", "expert_choice"] = "expert_choice"
    router_network: Literal["linear", "mlp"] = "linear"
    router_activation: Literal["sigmoid", "tanh", "none"] = "sigmoid"
    router_alpha: int | float = 0.1
    router_temperature: int | float = 1.0
    router_gating: Literal["weighted", "additive"] = "weighted"
    capacity_factors: list[int | float] | None = None

    # How the causal rule is learned, and the weight of each loss term
    router_supervision: Literal["aux_loss", "aux_router"] = "aux_loss"
    router_aux_loss_coef: int | float = 0.001
    router_z_loss_coef: int | float = 0.0

    # Key-value cache
    kv_strategy: Literal["recursion_wise", "shared"] = "recursion_wise"
    use_cache: bool = True

    # Special tokens
    bos_token_id: int | None = 0
    eos_token_id: int | list[int] | None = 0
    pad_token_id: int | None = 0

    def __post_init__(self, **kwargs: Any) -> None:
        _refuse_unknown(type(self), kwargs)
        super().__post_init__(**kwargs)

    def replaced(self, **changes: Any) -> "MoRConfig":
        """Return a copy of the architecture with some fields changed; checked as any other."""
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
        """Refuse fields that contradict each other; called by `@strict` after every field is typed.

        Raises:
            ValueError: names the field, the rule, the value and the remedy.
        """
        counts = {
            name: getattr(self, name)
            for name in (
                "num_layers_per_recursion",
                "num_recursions",
                "vocab_size",
                "hidden_size",
                "intermediate_size",
                "num_attention_heads",
                "num_key_value_heads",
                "max_position_embeddings",
            )
        }
        for name, count in counts.items():
            if count < 1:
                raise ValueError(f"{name} must be at least 1, got {count}")
        for name in ("num_prelude_layers", "num_coda_layers"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        for name in ("rope_theta", "rms_norm_eps", "router_alpha", "router_temperature"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        for name in ("router_aux_loss_coef", "router_z_loss_coef", "initializer_range"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        self._validate_attention()
        self._validate_router()

    def _validate_attention(self) -> None:
        if self.head_dim is None and self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size must be a multiple of num_attention_heads={self.num_attention_heads}, "
                f"got {self.hidden_size}; set head_dim to choose the width of a head yourself"
            )
        if self.attention_head_dim % 2:
            raise ValueError(
                f"head_dim must be even for rotary embeddings, got {self.attention_head_dim}"
            )
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"num_attention_heads must be a multiple of num_key_value_heads="
                f"{self.num_key_value_heads}, got {self.num_attention_heads}"
            )

    def _validate_router(self) -> None:
        if self.has_router and self.sharing == "sequence":
            raise ValueError(
                'sharing="sequence" repeats each layer in place, so there is no recursion to route; '
                'use sharing="cycle" or router_type="none"'
            )
        if self.sharing == "sequence" and self.kv_strategy == "shared":
            raise ValueError(
                'kv_strategy="shared" needs sharing="cycle": it reuses the keys of recursion 1'
            )
        if self.capacity_factors is None:
            return
        if not self.has_router:
            raise ValueError(
                'capacity_factors needs a router, got router_type="none"; remove capacity_factors'
            )
        factors = self.capacity_factors
        if len(factors) != self.num_recursions:
            raise ValueError(
                f"capacity_factors must have num_recursions={self.num_recursions} entries, "
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
        if self.kv_strategy == "shared" and factors[0] < 1:
            raise ValueError(
                'kv_strategy="shared" needs every token at recursion 1 (a first capacity factor of 1), '
                f'got {factors[0]}; use kv_strategy="recursion_wise"'
            )


def _refuse_unknown(config_class: type[MoRConfig], given: dict[str, Any]) -> None:
    """Raise for keys that neither our fields nor Hugging Face's own bookkeeping know."""
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
