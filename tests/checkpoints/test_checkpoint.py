"""Checkpoint folders: stored in bf16, found by name, refused by reason, never half written."""

import errno
import json
import shutil

import pytest
import torch
from transformers import AutoModelForCausalLM

from mor_core import MoRForCausalLM
from mor_core.checkpoints import checkpoint_writer
from mor_core.checkpoints.checkpoint import (
    CheckpointError,
    describe_checkpoint,
    list_checkpoints,
    load_checkpoint,
    resolve_checkpoint,
    save_checkpoint,
)
from tests.models import tiny_model, token_ids


@pytest.fixture
def folder(tiny_checkpoint, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(tiny_checkpoint, tmp_path / "root" / "tiny")


def change_config(folder, **fields):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.mark.parametrize("tied", [True, False])
def test_what_is_stored_is_the_weights_in_bf16(tiny_tokenizer, tmp_path, tied):
    model = tiny_model(vocab_size=300, tie_word_embeddings=tied)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    save_checkpoint(tmp_path / "one", model, tiny_tokenizer, files={"note.txt": "hello"})
    loaded = load_checkpoint(tmp_path / "one")
    for name, weight in loaded.model.state_dict().items():
        assert torch.equal(weight, before[name].to(torch.bfloat16).float())
        assert torch.equal(model.state_dict()[name], before[name])
    assert (loaded.model.lm_head.weight is loaded.model.model.embed_tokens.weight) == tied
    assert (tmp_path / "one" / "note.txt").read_text() == "hello"
    assert not loaded.model.training


def test_hugging_face_loads_the_same_model(tiny_checkpoint):
    ours = load_checkpoint(tiny_checkpoint).model
    theirs = AutoModelForCausalLM.from_pretrained(tiny_checkpoint, dtype=torch.float32).eval()
    ids = token_ids(1, 12)
    with torch.no_grad():
        assert torch.equal(ours(ids).logits, theirs(ids).logits)


def test_shards_are_small_and_load_back(tiny_tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint_writer, "MAX_SHARD_SIZE", "30KB")
    model = tiny_model(vocab_size=300)
    save_checkpoint(tmp_path / "one", model, tiny_tokenizer)
    shards = sorted((tmp_path / "one").glob("*.safetensors"))
    assert len(shards) > 1
    ids = token_ids(1, 8)
    with torch.no_grad():
        stored = load_checkpoint(tmp_path / "one").model(ids).logits
        expected = model.bfloat16().float()(ids).logits
    assert torch.equal(stored, expected)
    shards[-1].unlink()
    with pytest.raises(CheckpointError, match=r"lacks model-.*which its index names"):
        load_checkpoint(tmp_path / "one")


def test_names_paths_and_default_are_resolved(folder):
    root = folder.parent
    assert resolve_checkpoint("tiny", root) == folder
    assert resolve_checkpoint(folder, root) == folder
    assert resolve_checkpoint("default", root) == folder
    shutil.copytree(folder, root / "another")
    with pytest.raises(CheckpointError, match="there is no default checkpoint"):
        resolve_checkpoint("default", root)
    (root / "default").write_text("tiny\n")
    assert resolve_checkpoint("default", root) == folder
    assert [info.name for info in list_checkpoints(root)] == ["tiny", "another"]
    with pytest.raises(CheckpointError, match="known checkpoints: another, tiny"):
        resolve_checkpoint("nope", root)


def test_a_cut_weight_file_is_refused(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(
        CheckpointError, match=r"its header says .* cut off or damaged, copy it again"
    ):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    "content", [b"", b"short", b"\xff" * 5000, b"\x08" + b"\0" * 7 + b"not json"]
)
def test_a_file_that_is_no_safetensors_is_refused(folder, content):
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        load_checkpoint(folder)


def test_a_foreign_model_is_refused(folder):
    change_config(folder, model_type="llama")
    with pytest.raises(CheckpointError, match="model_type mor, got 'llama'"):
        load_checkpoint(folder)


def test_a_config_of_another_model_is_refused_before_it_is_built(folder):
    change_config(folder, num_layers_per_recursion=3)
    with pytest.raises(CheckpointError, match=r"describes .* parameters, the weights hold"):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"num_recursion": 3}, "did you mean"),
        ({"num_recursions": 0}, "num_recursions must be at least 1"),
    ],
)
def test_an_invalid_config_is_refused_with_the_reason(folder, fields, reason):
    change_config(folder, **fields)
    with pytest.raises(CheckpointError, match=reason):
        load_checkpoint(folder)


def test_pickled_weights_are_not_read(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="a pickle can run code"):
        load_checkpoint(folder)


def test_a_folder_without_tokenizer_is_refused(folder):
    (folder / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match="tokenizer"):
        load_checkpoint(folder)


def test_damaged_folders_are_left_out_of_the_list(folder):
    (folder / "model.safetensors").write_bytes(b"")
    assert list_checkpoints(folder.parent) == []


def test_a_full_disk_leaves_the_older_checkpoint(folder, tiny_tokenizer, monkeypatch):
    before = describe_checkpoint(folder)

    def on_full_disk(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(MoRForCausalLM, "save_pretrained", on_full_disk)
    with pytest.raises(CheckpointError, match=r"No space left on device.*untouched"):
        save_checkpoint(folder, tiny_model(seed=1, vocab_size=300), tiny_tokenizer)
    assert describe_checkpoint(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == ["tiny"]


def test_a_new_checkpoint_replaces_the_older_one(folder, tiny_tokenizer):
    before = describe_checkpoint(folder).sha256
    save_checkpoint(folder, tiny_model(seed=1, vocab_size=300), tiny_tokenizer)
    assert describe_checkpoint(folder).sha256 != before
    assert [path.name for path in folder.parent.iterdir()] == ["tiny"]
