"""All members are measured in turn, and the family takes the speeds of these very weights."""

import itertools
import json
import shutil

import pytest
import torch

from mor_core.benchmarks import members as members_benchmark
from mor_core.benchmarks import registry
from mor_core.benchmarks.checkpoint_speeds import (
    DECODING,
    MEMBERS_FILE,
    TRAINING_STEP,
    read_member_speeds,
)
from mor_core.benchmarks.harness import Bench
from mor_core.benchmarks.registry import Settings, run_benchmark
from mor_core.benchmarks.roofline import Roofline
from mor_core.checkpoints.checkpoint import (
    CheckpointError,
    list_checkpoints,
    load_checkpoint,
    save_checkpoint,
)
from mor_core.generation.timing_prompt import NEW_TOKENS, continue_timing_prompt
from mor_core.reports.checkpoint_family import write_family
from tests.models import UNROUTED, tiny_model
from tests.tiny_family import RECIPE

MUON = '\n[optimiser]\nname = "muon"\n'


@pytest.fixture
def root(tiny_tokenizer, tmp_path, monkeypatch):
    """One that nobody knows the recipe of, a router of its own context, and a plain Transformer."""
    kinds = {
        "converted": UNROUTED["recursive"],
        "deep": {"max_position_embeddings": 96},
        "plain": UNROUTED["vanilla"],
    }
    for seed, (name, fields) in enumerate(kinds.items()):
        settings = {"vocab_size": 300, "max_position_embeddings": 128, **fields}
        save_checkpoint(tmp_path / name, tiny_model(seed=seed, **settings), tiny_tokenizer)
        if name != "converted":
            recipe = RECIPE.format(name=name, seed=seed) + (MUON if name == "deep" else "")
            (tmp_path / name / "recipe.toml").write_text(recipe)
    monkeypatch.setenv("MOR_CHECKPOINTS", str(tmp_path))
    monkeypatch.setattr("gc.collect", lambda: 0)  # walks all of torch
    return tmp_path


def bench(**fields):
    clock = itertools.count().__next__  # each run takes a second
    return Bench(**{"quick": True, "warm_ups": 1, "repeats": 2, "clock": clock, **fields})


def test_every_result_says_of_which_weights_it_is(root):
    told = []
    results = list(members_benchmark.run(bench(on_progress=lambda share, _: told.append(share))))
    sha256 = {info.name: info.sha256 for info in list_checkpoints(root)}
    of = [(one.extra["quantity"], one.extra["checkpoint"]) for one in results]
    trained = [(TRAINING_STEP, name) for name in ("deep", "plain")]
    assert of == [(DECODING, name) for name in sha256] + trained
    assert all(one.extra["checkpoint_sha256"] == sha256[one.extra["checkpoint"]] for one in results)
    assert [one.peer for one in results] == ["plain", "plain", None, "plain", None]
    assert {(one.unit, one.repeats) for one in results} == {("tokens/s", 2)}
    assert (told[0], told[-1]) == (0.0, 1.0)


def test_members_write_in_turn_and_all_the_same_number_of_tokens(root, monkeypatch):
    folder, log = root / "deep", []
    first = next(
        token
        for token in continue_timing_prompt(load_checkpoint(folder)).tokens
        if token.phase == "decode" and not token.special
    )
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"eos_token_id": first.token_id}))
    assert (
        len(continue_timing_prompt(load_checkpoint(folder)).tokens) < NEW_TOKENS
    )  # it would end its text

    def write(loaded):
        log.append(loaded.info.name)
        return continue_timing_prompt(loaded)

    monkeypatch.setattr(members_benchmark, "continue_timing_prompt", write)
    results = list(members_benchmark.run(bench()))[:3]
    assert log == ["converted", "deep", "plain"] * 4  # opened, warmed up, twice
    assert [one.extra["new_tokens"] for one in results] == [NEW_TOKENS] * 3
    assert [one.ours for one in results] == [NEW_TOKENS] * 3
    assert results[2].extra["mean_recursion_depth"] == 1


def test_steps_are_the_recipes_and_find_the_same_weights_each_time(root, monkeypatch):
    given = {}
    step_side = members_benchmark.step_side

    def watched(name, model, ids, settings, **fields):
        before = {key: value.clone() for key, value in model.state_dict().items()}
        given[name] = (model, before, ids, settings, fields)
        return step_side(name, model, ids, settings, **fields)

    monkeypatch.setattr(members_benchmark, "step_side", watched)
    results = list(members_benchmark.run(bench(quick=False, repeats=1)))[3:]
    assert [one.extra["optimiser"] for one in results] == ["muon", "adamw"]
    assert [one.extra["tokens"] for one in results] == [2 * 8 * 96, 2 * 8 * 128]
    assert [one.ours for one in results] == [2 * 8 * 96, 2 * 8 * 128]
    for name, context in (("deep", 96), ("plain", 128)):
        model, before, ids, settings, fields = given[name]
        assert ids.shape == (8, context)
        assert fields == {"passes": 2}
        assert settings.name == {"deep": "muon", "plain": "adamw"}[name]
        assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    texts = [given[name][2].flatten()[:96].tolist() for name in ("deep", "plain")]
    assert texts[0] == texts[1]  # one text for all
    assert len(set(texts[0])) > 10


# There are 9 runs, and each asks the clock three times.
@pytest.mark.parametrize(("deadline", "num_results"), [(-1, 0), (27, 3)])
def test_time_that_is_up_leaves_the_steps_out(root, deadline, num_results):
    told = []
    limited = bench(deadline=deadline, on_progress=lambda _, what: told.append(what))
    results = list(members_benchmark.run(limited))
    assert [one.extra["quantity"] for one in results] == [DECODING] * num_results
    assert not [what for what in told if "train" in what]


def test_no_checkpoint_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("MOR_CHECKPOINTS", str(tmp_path))
    with pytest.raises(ValueError, match="no valid checkpoint"):
        list(members_benchmark.run(bench()))


@pytest.fixture(scope="module")
def measured_once(family_root, tmp_path_factory):
    """A copy of the tiny family, with the file of the benchmark; not to be changed."""
    root = shutil.copytree(family_root, tmp_path_factory.mktemp("measured") / "copy")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOR_CHECKPOINTS", str(root))
        patch.setattr("gc.collect", lambda: 0)
        patch.setattr(registry, "busy_warnings", lambda: [])
        patch.setattr(
            "mor_core.benchmarks.roofline.measure_roofline", lambda *_, **__: Roofline(1e9, 1e9)
        )
        run_benchmark("members", Settings(repeats=1), path=root / MEMBERS_FILE)
    return root


@pytest.fixture
def measured(measured_once, tmp_path):
    return shutil.copytree(measured_once, tmp_path / "copy")


def family_of(root):
    return json.loads(write_family(root).read_text())["members"]


def test_the_family_holds_what_was_measured_of_these_weights(measured):
    document = json.loads((measured / MEMBERS_FILE).read_text())
    members = family_of(measured)
    for result in document["results"]:
        extra = result["extra"]
        member = next(one for one in members if one["name"] == extra["checkpoint"])
        speed = member[extra["quantity"]]
        spread = result["spread"]["ours"]
        assert speed["tokens_per_s"] == result["ours"]
        assert speed["spread"] == [spread["min"], spread["max"]]
        how = speed["conditions"]
        assert (how["repeats"], how["what"]) == (result["repeats"], result["note"])
        assert how["processor"] == document["hardware"]["processor"]
        assert how["measured"] == document["created"]
    assert len(document["results"]) == 4
    assert members[0]["training"]["tokens_per_s"] == 150.0  # the log's, as before
    save = json.loads((measured / MEMBERS_FILE).read_text())
    for result in save["results"]:
        if result["extra"]["checkpoint"] == "second":
            result["extra"]["checkpoint_sha256"] = "0" * 64
    (measured / MEMBERS_FILE).write_text(json.dumps(save))
    first, second = family_of(measured)
    assert first["decoding"]
    assert first["training_step"]
    assert second["decoding"] is second["training_step"] is None


def test_a_short_run_says_nothing_of_the_family(measured):
    path = measured / MEMBERS_FILE
    document = json.loads(path.read_text())
    document["settings"]["quick"] = True
    path.write_text(json.dumps(document))
    assert all(member["decoding"] is None for member in family_of(measured))


@pytest.mark.parametrize("text", ["{", "[]", '{"settings": {"quick": false}}'])
def test_a_damaged_file_is_named_with_the_remedy(tmp_path, text):
    assert read_member_speeds(tmp_path) == {}
    path = tmp_path / MEMBERS_FILE
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(CheckpointError, match=r"members\.json is damaged.*mor bench members --out"):
        read_member_speeds(tmp_path)
