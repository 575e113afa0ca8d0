"""The family's file: what the folders say, and nothing else."""

import itertools
import json
import shutil

import pandas as pd
import pytest

from mor_core.checkpoints.checkpoint import CheckpointError, load_checkpoint
from mor_core.model.accounting import kv_bytes, parameter_count
from mor_core.reports.checkpoint_family import FAMILY_FILE, write_family


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


def evaluation_of(root, name):
    return json.loads((root / name / "evaluation.json").read_text())


def test_two_members_are_compared_on_the_same_documents(family):
    root, found = family
    (pair,) = found["differences"]
    first, second = (evaluation_of(root, name) for name in pair["names"])
    assert pair["names"] == ["first", "second"]
    counts = first["document_num_tokens"]
    nats = [each["results"][0]["document_nll_nats"] for each in (first, second)]
    assert len(counts) == len(nats[0]) == 2
    assert sum(counts) == first["results"][0]["num_tokens"]
    assert pair["more_nats_per_token"] == pytest.approx((sum(nats[1]) - sum(nats[0])) / sum(counts))
    # Of two documents, drawings hold either alone or both: the interval spans the two documents' own differences.
    own = sorted((b - a) / count for a, b, count in zip(*nats, counts, strict=True))
    assert pair["interval"] == pytest.approx(own)


@pytest.mark.parametrize(
    ("field", "value"), [("text_sha256", "0" * 64), ("document_num_tokens", [1, 2])]
)
def test_other_texts_and_other_tokens_are_not_compared(family, tmp_path, field, value):
    root = shutil.copytree(family[0], tmp_path / "copy")
    path = root / "second" / "evaluation.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    assert json.loads(write_family(root).read_text())["differences"] == []


def test_an_evaluation_from_before_says_what_it_lacks(family, tmp_path):
    root = shutil.copytree(family[0], tmp_path / "copy")
    path = root / "second" / "evaluation.json"
    found = json.loads(path.read_text())
    del found["document_num_tokens"]
    path.write_text(json.dumps(found))
    with pytest.raises(CheckpointError, match=r"second lacks 'document_num_tokens'.*mor report"):
        write_family(root)


def test_seeds_are_compared_part_by_part(family):
    root, found = family
    (pair,) = found["seeds"]
    assert pair["names"] == ["first", "second"]
    assert pair["seeds"] == [0, 1]
    assert pair["gap"] == pytest.approx(
        abs(pair["nll_nats_per_token"][0] - pair["nll_nats_per_token"][1])
    )
    classes = pair["classes"]
    depths = classes["mean_depths"]
    apart = [
        [a, b]
        for a, b in itertools.combinations(depths, 2)
        if (depths[a][0] - depths[b][0]) * (depths[a][1] - depths[b][1]) <= 0
    ]
    assert classes["pairs_in_another_order"] == apart
    assert classes["pairs"] == classes["pairs_in_the_same_order"] + len(apart)
    both = [evaluation_of(root, name) for name in pair["names"]]
    places = [
        pd.Series({group["first"]: group["mean_depth"] for group in each["depths"]["by_position"]})
        for each in both
    ]
    expected = places[0].rank().corr(places[1].rank())
    assert pair["positions"]["rank_correlation"] == pytest.approx(expected)
    assert pair["next_surprisal"]["rank_correlations"] == [
        each["depths"]["by_next_surprisal"]["rank_correlation"] for each in both
    ]


@pytest.mark.parametrize(
    ("old", "new", "num_pairs"),
    [
        ("num_recursions = 3", "num_recursions = 2", 0),
        ("num_recursions = 3", "num_recursions = 3\nhidden_size = 256  # a default", 1),
        ("tokens = 1000", "tokens = 2000", 0),
        ("seed = 1", "seed = 1\nsave_every_s = 5", 1),
        ("seed = 1", "seed = 0", 0),
    ],
)
def test_seeds_are_found_by_what_recipes_mean(family, tmp_path, old, new, num_pairs):
    root = shutil.copytree(family[0], tmp_path / "copy")
    recipe = root / "second" / "recipe.toml"
    assert old in recipe.read_text()
    recipe.write_text(recipe.read_text().replace(old, new))
    assert len(json.loads(write_family(root).read_text())["seeds"]) == num_pairs


def test_a_checkpoint_without_a_recipe_has_no_seeds(family, tmp_path):
    root = shutil.copytree(family[0], tmp_path / "copy")
    (root / "second" / "recipe.toml").unlink()
    assert json.loads(write_family(root).read_text())["seeds"] == []


def test_speeds_that_a_checkpoints_own_papers_tell_are_not_the_familys(family, tmp_path):
    """Each was measured in a session of its own, so that they cannot be compared."""
    root = shutil.copytree(family[0], tmp_path / "copy")
    measured = {"decode_tokens_per_s": {"float": 3.5}, "spread": {"float": [3.0, 4.0]}}
    experiments = {"checkpoint_sha256": family[1]["members"][0]["sha256"], "int8": measured}
    (root / "first" / "experiments.json").write_text(json.dumps(experiments))
    for member in json.loads(write_family(root).read_text())["members"]:
        assert member["decoding"] is member["training_step"] is None


def test_a_member_without_a_fitting_evaluation_is_refused(family, tmp_path):
    root = shutil.copytree(family[0], tmp_path / "copy")
    path = root / "second" / "evaluation.json"
    evaluation = json.loads(path.read_text())
    path.write_text(json.dumps({**evaluation, "checkpoint_sha256": "0" * 64}))
    with pytest.raises(CheckpointError, match="second has no evaluation of these weights"):
        write_family(root)
