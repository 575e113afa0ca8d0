"""From a Llama folder to a checkpoint that loads, with its tokenizer and its papers."""

import hashlib
import json

import pytest
import torch

from mor_core.checkpoints.checkpoint import describe_checkpoint, load_checkpoint
from mor_core.interop.convert import convert_llama
from mor_core.interop.llama import read_llama
from mor_core.model.model import MoRForCausalLM
from mor_core.model.uptraining import recursive_start
from tests.interop.test_gguf_files import needs_gguf, write_gguf
from tests.interop.test_llama import logits, tiny_llama
from tests.models import token_ids


@pytest.fixture
def source(tmp_path, tiny_tokenizer):
    tiny_llama(tmp_path / "source", vocab_size=300, num_hidden_layers=8)
    tiny_tokenizer.save_pretrained(tmp_path / "source")
    return tmp_path / "source"


def tokenizer_settings(tokenizer, split):
    """What a GGUF file says of a tokenizer; the end of text is token 1."""
    core = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    vocabulary = sorted(core["vocab"], key=core["vocab"].get)
    return [
        ("tokenizer.ggml.model", "gpt2"),
        ("tokenizer.ggml.pre", split),
        ("tokenizer.ggml.tokens", vocabulary),
        ("tokenizer.ggml.token_type", [3] + [1] * (len(vocabulary) - 1)),
        ("tokenizer.ggml.merges", [" ".join(pair) for pair in core["merges"]]),
        ("tokenizer.ggml.bos_token_id", 1),
        ("tokenizer.ggml.eos_token_id", 1),
    ]


def split_text(tokenizer, text):
    """The pieces, before any merge."""
    return tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str(text)


def rounded(model):
    """What a checkpoint keeps of a model: its weights in bf16."""
    return model.to(torch.bfloat16).float()


def test_plain_conversion_keeps_model_and_tokenizer(source, tmp_path, tiny_tokenizer):
    convert_llama(source, tmp_path / "plain")
    loaded = load_checkpoint(tmp_path / "plain")
    ids = token_ids(1, 20)
    assert torch.equal(logits(loaded.model, ids), logits(rounded(read_llama(source)), ids))
    assert loaded.tokenizer.encode("little rabbit") == tiny_tokenizer.encode("little rabbit")
    assert loaded.tokenizer.padding_side == "left"
    # The tokenizer begins texts with token 0, so the config must not say 5.
    assert (loaded.model.config.bos_token_id, loaded.model.config.eos_token_id) == (0, [6, 7])
    origin = loaded.info.provenance
    assert origin["source"] == "source"
    weights = (source / "model.safetensors").read_bytes()
    assert origin["source_sha256"] == hashlib.sha256(weights).hexdigest()
    assert origin["conversion"] == {"router": "none"}
    assert str(tmp_path) not in json.dumps(origin)


def test_texts_begin_with_token_0_whatever_the_source_says(source, tmp_path):
    names = source / "tokenizer_config.json"
    names.write_text(json.dumps(json.loads(names.read_text()) | {"bos_token": "!"}))
    convert_llama(source, tmp_path / "out")
    loaded = load_checkpoint(tmp_path / "out")
    assert loaded.tokenizer.bos_token == "<|endoftext|>"


@needs_gguf
def test_tokenizer_of_a_gguf_file(tmp_path, tiny_tokenizer):
    theirs = tiny_llama(tmp_path, vocab_size=300)
    file = tmp_path / "tiny.gguf"
    for split, pieces in (("gpt-2", ["Ġ", "Ġ5"]), ("smollm", ["ĠĠ", "5"])):
        write_gguf(file, theirs, settings=tokenizer_settings(tiny_tokenizer, split))
        convert_llama(file, tmp_path / split)
        words = load_checkpoint(tmp_path / split).tokenizer
        text = "a little rabbit, don't\n\nyou"
        assert words.encode(text) == tiny_tokenizer.encode(text)
        assert words.decode(words.encode(text)) == text
        assert (words.bos_token_id, words.eos_token_id, words.padding_side) == (0, 1, "left")
        assert [piece for piece, _ in split_text(words, "  5")] == pieces
    write_gguf(file, theirs, settings=tokenizer_settings(tiny_tokenizer, "llama-bpe"))
    with pytest.raises(ValueError, match="got 'gpt2' and 'llama-bpe'; name a folder"):
        convert_llama(file, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("router", ["none", "expert_choice"])
def test_folded_conversion_is_the_recursive_start(source, tmp_path, router):
    convert_llama(source, tmp_path / "folded", recursions=3, init="average", router=router)
    loaded = load_checkpoint(tmp_path / "folded")
    expected = recursive_start(read_llama(source), num_recursions=3, init="average", router=router)
    ids = token_ids(1, 20)
    assert torch.equal(logits(loaded.model, ids), logits(rounded(expected), ids))
    assert loaded.model.config.router_type == router
    assert loaded.model.config.num_layers_per_recursion == 2
    assert loaded.info.provenance["conversion"] == {
        "recursions": 3,
        "init": "average",
        "router": router,
    }


def test_tokenizer_may_come_from_elsewhere(source, tmp_path):
    (tmp_path / "words").mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (source / name).rename(tmp_path / "words" / name)
    with pytest.raises(ValueError, match=r"must hold a tokenizer.json, got none; name a folder"):
        convert_llama(source, tmp_path / "out", tokenizer=tmp_path)
    convert_llama(source, tmp_path / "out", tokenizer=tmp_path / "words")
    assert describe_checkpoint(tmp_path / "out").provenance["tokenizer"] == "words"


def test_without_a_tokenizer_the_weights_are_kept_exactly(source, tmp_path):
    (source / "tokenizer.json").unlink()
    assert not convert_llama(source, tmp_path / "out")
    model = MoRForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    ids = token_ids(1, 12)
    assert torch.equal(logits(model.eval(), ids), logits(read_llama(source), ids))
    origin = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert origin["tokenizer"] == "none"


def test_tokenizer_that_does_not_fit_is_refused(source, tmp_path):
    tiny_llama(tmp_path / "small", vocab_size=299)
    with pytest.raises(ValueError, match="at most vocab_size=299 tokens, got 300"):
        convert_llama(tmp_path / "small", tmp_path / "out", tokenizer=source)
    path = source / "tokenizer.json"
    path.write_text(path.read_text().replace("<|endoftext|>", "<unk>"))
    names = source / "tokenizer_config.json"
    names.write_text(names.read_text().replace("<|endoftext|>", "!"))
    with pytest.raises(ValueError, match=r"token 0 must begin or end a document .* got '<unk>'"):
        convert_llama(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_refusals_leave_nothing_behind(source, tmp_path):
    with pytest.raises(ValueError, match="recursions must be given with router"):
        convert_llama(source, tmp_path / "out", router="expert_choice")
    with pytest.raises(ValueError, match="nearest that divides is 6 or 10"):
        convert_llama(source, tmp_path / "out", recursions=4)
    assert not (tmp_path / "out").exists()
