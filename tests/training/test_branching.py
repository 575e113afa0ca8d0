"""A branched run equals a run with its budget from the start, and records where it branched off."""

import json
from pathlib import Path

import pytest

from mor_core.training.recipe import RecipeError, load_recipe, parse_recipe
from mor_core.training.run_state import TrainingError, load_state, read_log
from mor_core.training.training_schedule import make_schedule
from tests.tiny_run import SECTIONS, STEPS, assert_same_run, run, without_clocks

RECIPES = Path(__file__).parents[2] / "recipes"
KEPT = {"run.keep_state_tokens": 7 * 256 + 5}  # within step 8: the state after step 7
LONGER = {"overrides": {"budget.tokens": 20 * 256, **KEPT}}


def test_branch_from_a_kept_state_is_the_run_with_that_budget_bit_for_bit(workspace):
    run(workspace, "whole")
    run(workspace, "long", **LONGER)
    kept = workspace / "long" / "tiny" / f"at-{7 * 256}"
    assert load_state(kept).totals.step == 7
    folder = run(workspace, "branch", branch_from=kept)
    assert_same_run(workspace, "whole", "branch")
    provenance = json.loads((folder / "provenance.json").read_text())
    assert provenance["branched_from"] == {"name": "tiny", "step": 7, "num_tokens": 7 * 256}
    assert provenance["num_tokens"] == STEPS * 256
    whole = json.loads((workspace / "whole-checkpoint" / "provenance.json").read_text())
    assert whole["branched_from"] is None
    assert (
        load_state(workspace / "long" / "tiny").totals.step == 20
    )  # the first run went on by itself


def test_keeping_a_state_changes_nothing_and_survives_a_stop_before_it(workspace):
    run(workspace, "whole")
    run(workspace, "kept", stop_after_steps=6, overrides=KEPT)
    assert not list((workspace / "kept" / "tiny").glob("at-*"))
    run(workspace, "kept", resume=True, overrides=KEPT)
    assert_same_run(workspace, "whole", "kept")
    assert [path.name for path in (workspace / "kept" / "tiny").glob("at-*")] == ["at-1792"]


def test_a_branch_can_be_stopped_and_resumed_under_its_own_name(workspace):
    run(workspace, "whole")
    run(workspace, "long", **LONGER)
    kept = workspace / "long" / "tiny" / f"at-{7 * 256}"
    named = {"overrides": {"run.name": "twig"}}
    run(workspace, "long", branch_from=kept, stop_after_steps=9, **named)
    assert load_state(workspace / "long" / "twig").totals.branched_from["name"] == "tiny"
    run(workspace, "long", branch_from=kept, resume=True, **named)  # its own state comes first
    lines = [
        without_clocks(read_log(workspace / runs / name / "train_log.jsonl"))
        for runs, name in (("whole", "tiny"), ("long", "twig"))
    ]
    assert lines[0] == lines[1]


def test_what_cannot_be_branched_is_refused(workspace):
    run(workspace, "long", **LONGER)
    kept = workspace / "long" / "tiny" / f"at-{7 * 256}"
    with pytest.raises(TrainingError, match=r"differs in run\.seed; a run that branches off may"):
        run(workspace, "branch", branch_from=kept, overrides={"run.seed": 1})
    with pytest.raises(
        TrainingError, match=r"differs in budget\.tokens; .* before the decay starts"
    ):
        run(workspace, "branch", branch_from=kept, overrides={"budget.tokens": 8 * 256})
    with pytest.raises(TrainingError, match=r"state\.pt was not found; give the folder of a run"):
        run(workspace, "branch", branch_from=workspace)
    (kept / "train_log.jsonl").unlink()
    with pytest.raises(TrainingError, match=r"must hold the 7 steps of the state beside it"):
        run(workspace, "branch", branch_from=kept)


@pytest.mark.parametrize("tokens", [255, 10 * 256])
def test_state_is_kept_only_where_a_run_can_branch_off(tokens):
    recipe = parse_recipe(SECTIONS | {"run": {**SECTIONS["run"], "keep_state_tokens": tokens}})
    with pytest.raises(RecipeError, match=r"keep_state_tokens must lie between .* \(256 to 2304\)"):
        make_schedule(recipe)


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*-tokens.toml")), ids=lambda path: path.stem)
def test_equal_token_recipes_continue_from_the_states_their_parents_keep(path):
    """Vanilla's tokens, the parent's model and data, and a decay that begins with the kept state."""
    branch = load_recipe(path)
    parent = load_recipe(RECIPES / path.name.replace("-tokens", ""))
    assert parent.changed_fields(branch) == ["budget.flops", "budget.tokens", "run.name"]
    vanilla = make_schedule(load_recipe(RECIPES / "stories-vanilla.toml"))
    assert make_schedule(branch).num_steps == vanilla.num_steps
    kept = make_schedule(parent).kept_step
    assert kept == make_schedule(branch).first_decay_step == 977
    assert f"runs/{parent.run.name}/at-{kept * 8192}" in path.read_text(encoding="utf-8")
