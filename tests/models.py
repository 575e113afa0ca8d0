"""Small random models for tests, with routers that really decide."""

import torch

from mor_core import MoRConfig, MoRForCausalLM

TINY = {
    "hidden_size": 32,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "vocab_size": 97,
    "max_position_embeddings": 64,
    "initializer_range": 0.1,  # wide, so that a mistake shows in the logits
    "router_alpha": 0.5,
}


def tiny_config(**fields):
    """A config of a few thousand parameters; any field can be changed."""
    return MoRConfig(**{**TINY, **fields})


def tiny_model(seed=0, **fields):
    """A random model in evaluation mode whose router logits spread around zero."""
    torch.manual_seed(seed)
    model = MoRForCausalLM(tiny_config(**fields)).eval()
    # Without an activation the logit itself is the gate, and large gates blow the states up.
    spread = 0.2 if model.config.router_activation == "none" else 1.0
    for name, weight in model.named_parameters():
        if "network" in name:
            torch.nn.init.normal_(weight, std=spread)
    return model


def token_ids(batch, length, seed=0):
    """Random ids, 0 (the special token) left out."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(1, TINY["vocab_size"], (batch, length), generator=generator)
