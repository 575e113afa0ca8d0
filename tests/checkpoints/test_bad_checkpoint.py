"""Checkpoint folders from strangers: whatever stands in their files ends in one clear error, and the list stays up."""

import json
import shutil
import struct

import pytest
from safetensors.torch import load_file, save_file

from mor_core import CheckpointError, MoRConfig, load_checkpoint
from mor_core.checkpoints.checkpoint import describe_checkpoint, save_checkpoint, scan_checkpoints
from mor_core.checkpoints.tokenizer import train_tokenizer
from mor_core.training.recipe import RecipeError, parse_recipe
from tests.conftest import STORY
from tests.models import tiny_model
from tests.tiny_run import SECTIONS


@pytest.fixture
def folder(tiny_checkpoint, tmp_path):
    return shutil.copytree(tiny_checkpoint, tmp_path / "all" / "tiny")


def with_entry(folder, entry):
    """Replace the description of one tensor in the weight file's header, the data stay."""
    file = folder / "model.safetensors"
    content = file.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    name = next(key for key in header if key != "__metadata__")
    header[name] = entry(header[name])
    changed = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(changed)) + changed + content[8 + length :])


@pytest.mark.parametrize(
    "entry",
    [
        lambda old: "text",
        lambda old: [],
        lambda old: {},
        lambda old: {**old, "dtype": "I64"},
        lambda old: {**old, "dtype": 3},
        lambda old: {**old, "dtype": []},
        lambda old: {**old, "shape": [-1, 2]},
        lambda old: {**old, "shape": [2**62, 2**62]},
        lambda old: {**old, "shape": "ab"},
        lambda old: {**old, "data_offsets": "ab"},
        lambda old: {**old, "data_offsets": [0]},
        lambda old: {**old, "data_offsets": [8, 0]},
        lambda old: {**old, "data_offsets": [-8, 0]},
        lambda old: {**old, "data_offsets": [0, 10**400]},
        lambda old: {**old, "data_offsets": [0.0, 8.0]},
        lambda old: {**old, "more": 1},
    ],
)
def test_an_odd_header_is_refused(folder, entry):
    with_entry(folder, entry)
    with pytest.raises(CheckpointError, match="not a tensor in the file"):
        describe_checkpoint(folder)
    found, problems = scan_checkpoints(folder.parent)
    assert found == []
    assert len(problems) == 1


@pytest.mark.parametrize("header", [b"[" * 50_000, b'{"\\ud800": 1}', b"\xff\xfe"])
def test_a_header_that_is_no_list_of_tensors_is_refused(folder, header):
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        load_checkpoint(folder)


@pytest.mark.parametrize("shards", [[], "text", {"a": 3}, {"a": None}])
def test_an_odd_index_is_refused(folder, shards):
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    with pytest.raises(CheckpointError, match="weight_map of file names"):
        load_checkpoint(folder)


@pytest.mark.parametrize("name", ["config.json", "provenance.json", "evaluation.json"])
@pytest.mark.parametrize(
    "content",
    [
        "[1]",
        "3",
        '{"a": "\\ud800"}',
        '{"\\ud800": 1}',
        '{"a": 1e999}',
        "[" * 50_000,
        '{"a": 1' + "0" * 400 + "}",
    ],
    ids=["list", "number", "surrogate", "surrogate name", "infinity", "nested", "huge"],
)
def test_odd_json_is_refused_and_the_list_stays_up(folder, name, content):
    (folder / name).write_text(content)
    with pytest.raises(CheckpointError, match=name):
        describe_checkpoint(folder)
    found, problems = scan_checkpoints(folder.parent)
    assert found == []
    assert name in problems[0]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_recursions", "3"),
        ("num_recursions", 10**12),
        ("vocab_size", -1),
        ("hidden_size", 2.5),
        ("router_type", []),
        ("capacity_factors", "abc"),
        ("capacity_factors", [1, "x"]),
        ("capacity_factors", []),
    ],
)
def test_what_pages_read_of_a_config_is_checked_without_the_model(folder, field, value):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {field: value}))
    with pytest.raises(CheckpointError, match=rf"config\.json: {field} must be"):
        describe_checkpoint(folder)


def test_a_model_of_endless_depth_is_refused_before_anything_is_built():
    with pytest.raises(Exception, match=r"at most 10000, got 30002"):
        MoRConfig(router_type="none", num_recursions=15_000)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(folder, bad):
    file = folder / "model.safetensors"
    weights = load_file(file)
    weights["model.norm.weight"][3] = bad
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"not finite, first in model\.norm\.weight"):
        load_checkpoint(folder)


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(tmp_path):
    larger = train_tokenizer([STORY], 310, 64)
    save_checkpoint(tmp_path / "mixed", tiny_model(vocab_size=300), larger)
    with pytest.raises(CheckpointError, match="vocab_size=300 tokens, got 310"):
        load_checkpoint(tmp_path / "mixed")


@pytest.mark.parametrize("content", ["{}", "nonsense", '{"version": "1.0", "model": 3}'])
def test_a_damaged_tokenizer_is_refused(folder, content):
    (folder / "tokenizer.json").write_text(content)
    with pytest.raises(CheckpointError, match="tokenizer cannot be used"):
        load_checkpoint(folder)


@pytest.mark.parametrize("seed", [-1, 2**63, 10**30])
def test_a_seed_that_no_generator_takes_is_refused(tiny_loaded, mor, seed):
    status, _, err = mor("generate", "--prompt", "Once", "--seed", seed, "--max-new-tokens", 1)
    assert status in (1, 2)
    assert "Traceback" not in err
    assert "seed" in err


def test_the_largest_seed_works(mor):
    assert mor("generate", "--prompt", "Once", "--seed", 2**63 - 1, "--max-new-tokens", 2)[0] == 0


def test_a_recipes_seed_is_bounded():
    with pytest.raises(
        RecipeError, match=r"\[run\] seed must lie between 0 and 4294967295, got 4294967296"
    ):
        parse_recipe({**SECTIONS, "run": {**SECTIONS["run"], "seed": 2**32}})
