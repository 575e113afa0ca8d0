"""GGUF: a small file in the layout of llama.cpp, and what Hugging Face's reader would leave out in silence."""

import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from mor_core.interop.llama import read_llama
from tests.interop.test_llama import TINY_LLAMA, logits, tiny_llama
from tests.models import token_ids

NAMES = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
needs_gguf = pytest.mark.skipif(find_spec("gguf") is None, reason="the package gguf is optional")


def gguf_name(name):
    if not name.startswith("model.layers."):
        whole = {
            "model.embed_tokens": "token_embd",
            "model.norm": "output_norm",
            "lm_head": "output",
        }
        return whole[name.removesuffix(".weight")] + ".weight"
    _, _, number, part = name.removesuffix(".weight").split(".", 3)
    return f"blk.{number}.{NAMES[part]}.weight"


def interleaved(weight, heads):
    """The order of rows in which llama.cpp turns neighbours instead of halves."""
    return weight.reshape(heads, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def write_gguf(path, model, settings=(), tensors=(), kind="llama"):
    from gguf import GGUFWriter

    config = model.config
    writer = GGUFWriter(path, kind)
    writer.add_name("tiny")
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    for name, value in settings:
        add = {str: writer.add_string, int: writer.add_uint32, list: writer.add_array}
        add[type(value)](name, value)
    for name, weight in model.state_dict().items():
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
        data = weight.numpy()
        for part, count in heads.items():
            if part in name:
                data = interleaved(data, count)
        writer.add_tensor(gguf_name(name), np.ascontiguousarray(data))
    for name in tensors:
        writer.add_tensor(name, np.ones(4, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@needs_gguf
def test_logits_equal_those_of_the_model_that_was_written(tmp_path):
    theirs = tiny_llama(tmp_path, rope_parameters={"rope_type": "default", "rope_theta": 700.0})
    write_gguf(tmp_path / "tiny.gguf", theirs)
    ours = read_llama(tmp_path / "tiny.gguf")
    ids = token_ids(2, 30)
    torch.testing.assert_close(logits(ours, ids), logits(theirs, ids), atol=1e-5, rtol=0)
    assert ours.config.rope_theta == 700.0
    assert ours.config.max_position_embeddings == TINY_LLAMA["max_position_embeddings"]


@needs_gguf
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"kind": "qwen2"}, "general.architecture must be llama, got 'qwen2'"),
        ({"tensors": ["rope_freqs.weight"]}, "got rope_freqs.weight"),
        ({"tensors": ["blk.0.attn_q.bias"]}, "got blk.0.attn_q.bias"),
        ({"settings": [("llama.rope.scaling.type", "yarn")]}, "scaling.type must be absent"),
        ({"settings": [("llama.attention.key_length", 16)]}, "dimension_count=8, got 16"),
    ],
)
def test_what_would_be_left_out_is_refused(tmp_path, changes, reason):
    write_gguf(tmp_path / "tiny.gguf", tiny_llama(tmp_path), **changes)
    with pytest.raises(ValueError, match=reason):
        read_llama(tmp_path / "tiny.gguf")


@needs_gguf
def test_another_kind_of_file_is_refused(tmp_path):
    (tmp_path / "tiny.gguf").write_bytes(b"not a model, but long enough to look at")
    with pytest.raises(ValueError, match="cannot be read as GGUF"):
        read_llama(tmp_path / "tiny.gguf")


def test_without_the_package_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(ValueError, match="pip install gguf"):
        read_llama(tmp_path / "tiny.gguf")
