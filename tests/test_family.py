"""The family's file: what the folders say, and nothing else."""

import json
import shutil

import pytest

from mor_core.accounting import kv_bytes, parameter_count
from mor_core.checkpoint import CheckpointError, load_checkpoint
from mor_core.family import FAMILY_FILE, write_family


@pytest.fixture(scope="module")
def family(family_root):
    return family_root, json.loads((family_root / FAMILY_FILE).read_text())


def test_members_repeat_their_papers(family):
    root, found = family
    assert [member["name"] for member in found["members"]] == ["first", "second"]
    for member in found["members"]:
        evaluation = json.loads((root / member["name"] / "evaluation.json").read_text())
        assert member["sha256"] == evaluation["checkpoint_sha256"]
        own = evaluation["results"][0]
        assert member["results"][0] == {k: v for k, v in own.items() if k != "document_nll_nats"}
        assert member["tasks"] == evaluation["tasks"]
        assert member["training"] == {
            "tokens": 1024,
            "steps": 2,
            "active_flops": 123456,
            "executed_flops": 123460,
            "wall_s": 60.0,
            "tokens_per_s": 150.0,
            "peak_memory_bytes": 7,
            "hardware": "a machine",
            "precision": "fp32",
        }


def test_cost_figures_are_those_of_the_accounting(family):
    root, found = family
    config = load_checkpoint(root / "first").model.config
    member = found["members"][0]
    assert member["model"]["parameters"] == parameter_count(config)
    own = member["results"][0]
    counts = [sum(own["depth_histogram"][r:]) for r in range(3)]
    total = own["num_tokens"]
    for dtype, size in (("bfloat16", 2), ("float32", 4)):
        expected = kv_bytes(config, total, counts, size) / total
        assert member["kv_bytes_per_token"][dtype]["own"] == pytest.approx(expected)


def test_seeds_are_compared_token_type_by_token_type(family, monkeypatch):
    _, found = family
    (pair,) = found["seeds"]
    assert pair["names"] == ["first", "second"]
    assert pair["gap"] == pytest.approx(
        abs(pair["nll_nats_per_token"][0] - pair["nll_nats_per_token"][1])
    )
    classes = pair["classes"]
    depths = list(classes["mean_depths"].values())
    alike = sum(
        (a[0] - b[0]) * (a[1] - b[1]) > 0 for i, a in enumerate(depths) for b in depths[i + 1 :]
    )
    assert classes["pairs_in_the_same_order"] == alike
    assert classes["pairs"] == len(depths) * (len(depths) - 1) // 2


def test_other_recipes_are_no_seeds_of_each_other(family, tmp_path):
    root = shutil.copytree(family[0], tmp_path / "copy")
    recipe = root / "second" / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("num_recursions = 3", "num_recursions = 2"))
    assert json.loads(write_family(root).read_text())["seeds"] == []


def test_a_member_without_a_fitting_evaluation_is_refused(family, tmp_path):
    root = shutil.copytree(family[0], tmp_path / "copy")
    path = root / "second" / "evaluation.json"
    evaluation = json.loads(path.read_text())
    path.write_text(json.dumps({**evaluation, "checkpoint_sha256": "0" * 64}))
    with pytest.raises(CheckpointError, match="second has no evaluation of these weights"):
        write_family(root)
