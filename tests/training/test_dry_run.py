"""A dry run gives the size and cost of a run and compares them with the paper's numbers."""

import json
from pathlib import Path

import pytest

from mor_core.model.accounting import training_flops
from mor_core.model.paper import TOKENS_PER_STEP, paper_config, paper_steps
from mor_core.training.dry_run import dry_run, plan_lines
from mor_core.training.recipe import load_recipe

RECIPES = Path(__file__).parents[2] / "recipes"
PAPERS = {"fineweb-135m-mor3-expert": ("135M", 2e18), "fineweb-360m-mor3-expert": ("360M", 16.5e18)}


@pytest.mark.parametrize("name", PAPERS)
def test_the_papers_recipes_have_the_papers_steps(name):
    size, budget = PAPERS[name]
    plan = dry_run(load_recipe(RECIPES / f"{name}.toml"))
    assert plan["paper"]["model"] == size
    assert plan["batch_tokens"] == TOKENS_PER_STEP
    assert plan["steps"] == pytest.approx(
        paper_steps(paper_config(size, 3, "expert_choice"), budget), rel=1e-3
    )
    assert plan["paper"]["forward_flops"] == pytest.approx(budget, rel=1e-3)
    assert plan["warmup_steps"] == 86
    assert plan["decay_steps"] / plan["steps"] == pytest.approx(0.2, abs=1e-3)


@pytest.mark.parametrize("name", PAPERS)
def test_the_papers_recipes_download_what_they_read_and_use_the_papers_vocabulary(name):
    recipe = load_recipe(RECIPES / f"{name}.toml")
    assert recipe.data.tokenizer == f"HuggingFaceTB/SmolLM-{PAPERS[name][0]}"
    tokens_of_a_document = recipe.budget.tokens / recipe.data.max_documents
    assert (
        850 < tokens_of_a_document < 1000
    )  # FineWeb-Edu's have some 1,000: the data is read about once


def test_the_largest_takes_the_steps_of_the_official_configuration():
    plan = dry_run(load_recipe(RECIPES / "fineweb-360m-mor3-expert.toml"))
    assert plan["steps"] == plan["paper"]["steps_in_its_configuration"] == 14161
    assert plan["paper"]["steps_by_its_formula"]["1.65e+19"] == pytest.approx(14160.0, abs=0.1)


def test_the_flops_are_those_of_training():
    recipe = load_recipe(RECIPES / "stories-mor3-expert.toml")
    plan, config = dry_run(recipe), recipe.config()
    assert "paper" not in plan
    per_sequence = training_flops(config, 512, [512, 341, 170])
    assert plan["training_flops_per_token"] == pytest.approx(per_sequence / 512)
    assert plan["training_flops"] == pytest.approx(recipe.budget.flops, rel=1e-3)


def test_flops_of_a_run_gated_by_accuracy_are_called_a_lower_bound():
    gated = dry_run(load_recipe(RECIPES / "puzzles-mor4.toml"))
    assert "; at least" in plan_lines(gated)[3]
    by_tokens = dry_run(load_recipe(RECIPES / "stories-mor3-expert.toml"))
    assert "; at least" not in "".join(plan_lines(by_tokens))


def test_the_command_prints_the_dry_run_without_reading_data(mor):
    path = RECIPES / "fineweb-360m-mor3-expert.toml"
    status, out, _ = mor("train", path, "--dry-run", "--json")
    assert status == 0
    assert json.loads(out)["steps"] == 14161
    status, out, _ = mor("train", path, "--dry-run", "--set", "budget.tokens=2097152")
    assert "steps: 1 of 2,097,152 tokens" in out
    assert "its 360M shape: 1.165e+15 forward FLOPs, 1 steps" in out
    assert "the official configuration for 1.65e+19: 14,161 steps" in out
