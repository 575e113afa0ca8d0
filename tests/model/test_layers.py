"""Our layers against Hugging Face's Llama with the same weights."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from mor_core import layer_schedule
from tests.models import TINY, tiny_model, token_ids


def llama_twin(model):
    """A Hugging Face Llama with one own layer per layer call of ours, and the same weights."""
    config = model.config
    llama = LlamaForCausalLM(
        LlamaConfig(
            **{name: TINY[name] for name in TINY if name != "router_alpha"},
            num_hidden_layers=config.num_hidden_layers,
            head_dim=config.attention_head_dim,
            rms_norm_eps=config.rms_norm_eps,
            rope_theta=config.rope_theta,
            tie_word_embeddings=config.tie_word_embeddings,
        )
    ).eval()
    ours = model.state_dict()
    weights = {
        name: ours[name]
        for name in ("model.embed_tokens.weight", "model.norm.weight", "lm_head.weight")
    }
    for number, call in enumerate(layer_schedule(config)):
        prefix = f"model.{call.stage}.{call.layer_idx}."
        for name, tensor in ours.items():
            if name.startswith(prefix):
                weights[f"model.layers.{number}.{name.removeprefix(prefix)}"] = tensor
    llama.load_state_dict(weights)
    return llama


@pytest.mark.parametrize(
    "fields",
    [
        {"num_recursions": 1},
        {"num_recursions": 1, "num_prelude_layers": 0, "num_coda_layers": 0},
        {"num_recursions": 1, "tie_word_embeddings": False},
        {"num_recursions": 1, "head_dim": 6, "rope_theta": 500.0},
        {"num_recursions": 3},
        {"num_recursions": 2, "sharing": "sequence"},
    ],
)
def test_logits_equal_llama(fields):
    model = tiny_model(router_type="none", **fields)
    ids = token_ids(2, 24)
    with torch.no_grad():
        ours, theirs = model(ids).logits, llama_twin(model)(ids).logits
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_loss_equals_llama():
    model = tiny_model(router_type="none")
    ids = token_ids(2, 24)
    labels = ids.clone()
    labels[0, :5] = -100
    with torch.no_grad():
        ours = model(ids, labels=labels).loss
        theirs = llama_twin(model)(ids, labels=labels).loss
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_left_padding_equals_llama():
    model = tiny_model(router_type="none")
    ids = token_ids(2, 10)
    mask = torch.ones_like(ids)
    mask[0, :4] = 0
    position_ids = (mask.cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        ours = model(ids, attention_mask=mask).logits
        theirs = llama_twin(model)(ids, attention_mask=mask, position_ids=position_ids).logits
    torch.testing.assert_close(ours[mask.bool()], theirs[mask.bool()], atol=1e-5, rtol=0)
