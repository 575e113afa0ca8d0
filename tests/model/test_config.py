"""The configuration refuses what makes no sense, and survives the trip through a file."""

import dataclasses

import pytest
from huggingface_hub.errors import (
    StrictDataclassClassValidationError,
    StrictDataclassFieldValidationError,
)
from transformers import PreTrainedConfig

from mor_core import MoRConfig
from tests.models import TOKEN_CHOICE


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_recursions", 0.5),
        ("num_recursions", "3"),
        ("num_recursions", True),
        ("router_type", "token"),
        ("capacity_factors", [1.0, "half", 0.2]),
    ],
)
def test_wrong_type_is_refused(field, value):
    with pytest.raises(StrictDataclassFieldValidationError, match=field):
        MoRConfig(**{field: value})


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"num_recursions": 0}, "num_recursions must be at least 1, got 0"),
        ({"num_prelude_layers": -1}, "num_prelude_layers must not be negative"),
        ({"hidden_size": 30}, "hidden_size must be a multiple of num_attention_heads=4, got 30"),
        ({"num_key_value_heads": 3}, "multiple of num_key_value_heads=3"),
        ({"head_dim": 63}, "head_dim must be even"),
        ({"rope_theta": 0.0}, "rope_theta must be above 0"),
        ({"capacity_factors": [1.0, 0.5]}, "num_recursions=3 entries, got 2"),
        (
            {"capacity_factors": [1.0, 0.5, 0.7]},
            "must not increase, got 0.5 then 0.7 at recursion 3",
        ),
        ({"capacity_factors": [1.0, 0.5, 0.0]}, "above 0 and at most 1, got 0.0 at recursion 3"),
        ({"capacity_factors": [1, 1, 1], "router_type": "none"}, "belongs to a router"),
        ({"sharing": "sequence"}, "no recursion to route"),
        (
            {"sharing": "sequence", "router_type": "none", "kv_strategy": "shared_updated"},
            'needs sharing="cycle"',
        ),
        (
            {"kv_strategy": "shared", "capacity_factors": [0.9, 0.5, 0.2]},
            "every token at recursion 1",
        ),
        ({"num_experts": 4}, "num_experts must be 1 with a router"),
        ({"num_experts": 0, "router_type": "none"}, "num_experts must be at least 1"),
        ({"router_activation": "softmax"}, "sigmoid or tanh or none for expert_choice"),
        ({**TOKEN_CHOICE, "router_activation": "tanh"}, "softmax or sigmoid for token_choice"),
        ({**TOKEN_CHOICE, "capacity_factors": [1, 1, 1]}, "belongs to expert-choice"),
        ({**TOKEN_CHOICE, "router_supervision": "aux_router"}, "belongs to expert-choice"),
        ({**TOKEN_CHOICE, "router_control": "random_scores"}, '"none" or "random_selection"'),
        ({**TOKEN_CHOICE, "num_recursions": 1}, "at least 2 for token_choice"),
        (
            {**TOKEN_CHOICE, "router_gating": "additive", "router_gated_steps": "every"},
            "additive gating scales nothing",
        ),
        ({"router_balancing": "loss_free"}, "belongs to token-choice"),
        ({"router_type": "none", "router_control": "random_selection"}, "belongs to a router"),
        ({"recursion_specific": ["norms", "norms"]}, "name each part once"),
        ({"recursion_specific": ["norms"], "num_recursions": 1}, "several recursions"),
        ({"router_z_loss_coef": float("inf")}, "must not be negative or infinite"),
    ],
)
def test_contradiction_is_refused_with_the_reason(fields, reason):
    with pytest.raises(StrictDataclassClassValidationError) as error:
        MoRConfig(**fields)
    assert reason in str(error.value.__cause__)


def test_unknown_field_is_refused_with_a_suggestion():
    with pytest.raises(ValueError, match="did you mean num_recursions"):
        MoRConfig(num_recursion=3)


def test_config_survives_a_file(tmp_path):
    config = MoRConfig(num_recursions=2, capacity_factors=[1, 0.4], kv_strategy="shared")
    config.save_pretrained(tmp_path)
    again = MoRConfig.from_pretrained(tmp_path)
    assert again.to_diff_dict() == config.to_diff_dict()
    assert MoRConfig.from_pretrained(tmp_path, router_alpha=0.2).router_alpha == 0.2


def test_capacities_fall_linearly_by_default():
    assert MoRConfig(num_recursions=4).capacity_schedule == (1.0, 0.75, 0.5, 0.25)
    assert MoRConfig(router_type="none").capacity_schedule == (1.0, 1.0, 1.0)


def test_derived_values_follow_their_fields():
    config = MoRConfig()
    config.num_recursions = 4
    assert len(config.capacity_schedule) == 4
    assert config.num_hidden_layers == 1 + 2 * 4 + 1


def test_adding_a_field_is_a_reviewed_act():
    own = {field.name for field in dataclasses.fields(MoRConfig)}
    own -= {field.name for field in dataclasses.fields(PreTrainedConfig)}
    assert sorted(own) == [
        "bos_token_id",
        "capacity_factors",
        "eos_token_id",
        "expert_balancing_loss_coef",
        "expert_capacity_factor",
        "expert_z_loss_coef",
        "head_dim",
        "hidden_size",
        "initializer_range",
        "intermediate_size",
        "kv_strategy",
        "max_position_embeddings",
        "num_attention_heads",
        "num_coda_layers",
        "num_experts",
        "num_key_value_heads",
        "num_layers_per_recursion",
        "num_prelude_layers",
        "num_recursions",
        "pad_token_id",
        "recursion_specific",
        "rms_norm_eps",
        "rope_theta",
        "router_activation",
        "router_alpha",
        "router_aux_loss_coef",
        "router_balancing",
        "router_balancing_loss_coef",
        "router_bias_update_rate",
        "router_control",
        "router_depth_price_coef",
        "router_gated_steps",
        "router_gating",
        "router_network",
        "router_supervision",
        "router_temperature",
        "router_type",
        "router_z_loss_coef",
        "sharing",
        "tie_word_embeddings",
        "use_cache",
        "vocab_size",
    ]
