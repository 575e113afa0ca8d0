"""Small random models for tests, whose routers choose varied depths, and the variants for all equivalence tests."""

import pytest
import torch

from mor_core import MoRConfig, MoRForCausalLM, RoutingRule

TINY = {
    "hidden_size": 32,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "vocab_size": 97,
    "max_position_embeddings": 64,
    "initializer_range": 0.1,  # large, so that a mistake changes the logits visibly
    "router_alpha": 0.5,
}

TOKEN_CHOICE = {
    "router_type": "token_choice",
    "router_activation": "softmax",
    "router_alpha": 1.0,
}
ROUTED = {
    "default": {},
    "cycle": {"num_prelude_layers": 0, "num_coda_layers": 0},
    "long prelude and coda": {
        "num_prelude_layers": 2,
        "num_coda_layers": 3,
        "num_layers_per_recursion": 1,
    },
    "shared keys": {"kv_strategy": "shared"},
    "first capacity below one": {"capacity_factors": [0.8, 0.5, 0.3]},
    "tanh": {"router_activation": "tanh"},
    "no activation": {"router_activation": "none"},
    "additive": {"router_gating": "additive"},
    "mlp": {"router_network": "mlp"},
    "wide mlp": {"router_network": "wide_mlp"},
    "temperature": {"router_temperature": 2.0},
    "aux router": {"router_supervision": "aux_router"},
    "random selection": {"router_control": "random_selection"},
    "random scores": {"router_control": "random_scores"},
    "own attention": {"recursion_specific": ["attention"]},
    "own norms and attention": {"recursion_specific": ["norms", "attention"]},
    "token choice": TOKEN_CHOICE,
    "token choice, cycle": {**TOKEN_CHOICE, "num_prelude_layers": 0, "num_coda_layers": 0},
    "token choice, sigmoid": {**TOKEN_CHOICE, "router_activation": "sigmoid", "router_alpha": 0.7},
    "token choice, every step": {**TOKEN_CHOICE, "router_gated_steps": "every"},
    "token choice, additive": {**TOKEN_CHOICE, "router_gating": "additive"},
    "token choice, loss-free": {**TOKEN_CHOICE, "router_balancing": "loss_free"},
    "token choice, mlp": {**TOKEN_CHOICE, "router_network": "mlp"},
    "token choice, shared keys": {**TOKEN_CHOICE, "kv_strategy": "shared"},
    "token choice, random": {**TOKEN_CHOICE, "router_control": "random_selection"},
}
UPDATED = {
    "updated keys": {"kv_strategy": "shared_updated"},
    "token choice, updated keys": {**TOKEN_CHOICE, "kv_strategy": "shared_updated"},
}
UNROUTED = {
    "vanilla": {"router_type": "none", "num_recursions": 1},
    "recursive": {"router_type": "none"},
    "sequence": {"router_type": "none", "sharing": "sequence"},
    "recursive, shared keys": {"router_type": "none", "kv_strategy": "shared"},
    "sequence, shared keys": {
        "router_type": "none",
        "sharing": "sequence",
        "kv_strategy": "shared",
    },
    "recursive, own attention": {"router_type": "none", "recursion_specific": ["attention"]},
    "sequence, own norms": {
        "router_type": "none",
        "sharing": "sequence",
        "recursion_specific": ["norms"],
    },
    "switch": {"router_type": "none", "num_recursions": 1, "num_experts": 4},
    "recursive switch": {"router_type": "none", "num_experts": 3},
}
RULES = {
    "causal": RoutingRule.causal(),
    "thresholds": RoutingRule.causal([0.5, 0.3, 0.7]),
    "aux": RoutingRule.aux(0.4),
    "top_k": RoutingRule.top_k(),
    "capacities": RoutingRule.top_k([1.0, 0.9, 0.2]),
    "fixed": RoutingRule.fixed(2),
    "open": RoutingRule.fixed(2, gate="open"),
    "random": RoutingRule.random(3),
    "capped": RoutingRule.causal([0.5, 0.3, 0.3]).capped(2),
    "forced": RoutingRule.forced([1, 3, None, 2, 1, None, 3, 3, 1, 2]),
}

TESTED_WITH_EVERY_RULE = ("default", "token choice")


def pairs(family, rules, *, with_draws=True):
    """Return parameters (fields, rule) for every variant and rule that fit (test_router_types covers the others).

    Two variants are paired with every rule, each of the others with a fifth of the rules; the remaining pairs are slow.
    `with_draws=False` leaves out random-routing controls under top-k, whose draws depend on the candidates of a call.
    """
    found = []
    for number, (name, fields) in enumerate(family.items()):
        config = MoRConfig(**{**TINY, **fields})
        draws = "router_control" in fields
        allowed = [
            (rule_name, rule)
            for rule_name, rule in rules.items()
            if rule.fits(config) and (with_draws or not (draws and rule.sees_future))
        ]
        for index, (rule_name, rule) in enumerate(allowed):
            is_fast = name in TESTED_WITH_EVERY_RULE or (index - number) % min(5, len(allowed)) == 0
            marks = () if is_fast else pytest.mark.slow
            found.append(pytest.param(fields, rule, id=f"{name}-{rule_name}", marks=marks))
    return found


def tiny_config(**fields):
    """Return a configuration of a few thousand parameters with the given fields changed."""
    return MoRConfig(**{**TINY, **fields})


def tiny_model(seed=0, **fields):
    """Return a random model in evaluation mode whose router logits spread around zero."""
    torch.manual_seed(seed)
    model = MoRForCausalLM(tiny_config(**fields)).eval()
    # Without an activation the logit itself is the gate, and large gates make the hidden states explode.
    spread = 0.2 if model.config.router_activation == "none" else 1.0
    for name, weight in model.named_parameters():
        if "network" in name:
            torch.nn.init.normal_(weight, std=spread)
        if name.endswith("mlp.router.weight"):
            torch.nn.init.normal_(weight, std=2.0)
    for name, bias in model.named_buffers():
        if name.endswith("bias"):
            torch.nn.init.normal_(bias, std=0.1)
    return model


def token_ids(batch, length, seed=0):
    """Return random token ids (batch, length) without 0, the special token."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(1, TINY["vocab_size"], (batch, length), generator=generator)
