"""Recipes: which fields are read, which values are refused, and the schedule that a budget gives."""

import itertools
from pathlib import Path

import pytest

from mor_core.model.accounting import training_flops
from mor_core.training.recipe import RecipeError, load_recipe, parse_recipe, recipe_text
from mor_core.training.training_schedule import make_schedule, step_flops
from tests.loops import for_each

SHIPPED = sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))
SMALL = {
    "model": {"hidden_size": 32, "max_position_embeddings": 64, "num_recursions": 2},
    "data": {"train": "stories.txt"},
    "budget": {"tokens": 100_000},
    "run": {"name": "small", "batch_tokens": 1024, "micro_batch": 4},
}


def changed(section, **fields):
    return {**SMALL, section: {**SMALL.get(section, {}), **fields}}


@for_each(SHIPPED, lambda path: path.stem)
def test_shipped_recipe_is_valid_and_named_as_its_file(path):
    recipe = load_recipe(path)
    assert recipe.run.name == path.stem
    assert make_schedule(recipe).num_steps > 0


def test_there_are_shipped_recipes():
    assert {"stories-mor3-expert", "tinystories-mor3-expert"} <= {path.stem for path in SHIPPED}


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (changed("run", seeed=1), r"\[run\] has no field 'seeed'; did you mean seed\?"),
        (changed("optimizer", lr=1), r"no section \[optimizer\]; did you mean optimiser\?"),
        (
            changed("model", hiden_size=3),
            r"\[model\] MoRConfig has no field 'hiden_size'; did you mean hidden_size",
        ),
        (changed("model", hidden_size=3.5), r"\[model\] .*hidden_size"),
        (changed("model", num_attention_heads=3), r"\[model\] hidden_size must be a multiple"),
        (changed("run", seed=1.5), r"\[run\] seed must be a whole number, got 1.5"),
        (changed("run", seed=True), r"\[run\] seed must be a whole number, got True"),
        (changed("run", compile="yes"), r"\[run\] compile must be true or false, got 'yes'"),
        (
            changed("run", precision="fp8"),
            r"\[run\] precision must be one of auto, bf16, fp32, got 'fp8'",
        ),
        (changed("run", name="../x"), r"\[run\] name must be usable as a folder's name"),
        (
            changed("run", batch_tokens=1000),
            r"must be a multiple of micro_batch x context \(4 x 64 = 256\)",
        ),
        (changed("optimiser", learning_rate=0), r"learning_rate must be above 0, got 0"),
        (changed("optimiser", beta2=1), r"beta2 must be at least 0 and below 1"),
        (
            changed("optimiser", learning_rate=float("nan")),
            r"learning_rate must be a finite number",
        ),
        (changed("schedule", decay_fraction=2), r"decay_fraction must lie between 0 and 1, got 2"),
        (changed("budget", flops=1e9), r"exactly one of tokens and flops"),
        (changed("budget", tokens=0), r"exactly one of tokens and flops"),
        (changed("data", hugging_face="a/b"), r"exactly one of train .* and hugging_face"),
        (
            changed("data", final_documents="easy"),
            r"final_documents must be one of all, simple, got 'easy'",
        ),
        ({**SMALL, "run": 3}, r"run must be a section"),
    ],
)
def test_impossible_recipe_says_field_rule_and_value(sections, message):
    with pytest.raises(RecipeError, match=message):
        parse_recipe(sections)


def test_missing_and_broken_files_are_named(tmp_path):
    with pytest.raises(RecipeError, match=r"none\.toml was not found; see the folder recipes/"):
        load_recipe(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("[run\n")
    with pytest.raises(RecipeError, match=r"bad\.toml must be a TOML file"):
        load_recipe(tmp_path / "bad.toml")


def test_written_recipe_reads_back_the_same(tmp_path):
    recipe = parse_recipe(changed("model", capacity_factors=[1, 0.5]))
    path = tmp_path / "again.toml"
    path.write_text(recipe_text(recipe), encoding="utf-8")
    assert load_recipe(path) == recipe


def test_overrides_take_precedence_and_are_checked(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(recipe_text(parse_recipe(SMALL)), encoding="utf-8")
    assert load_recipe(path, {"run.seed": 7, "budget.tokens": 2048}).run.seed == 7
    with pytest.raises(RecipeError, match="did you mean seed"):
        load_recipe(path, {"run.sed": 7})
    with pytest.raises(RecipeError, match=r"must be named section\.field"):
        load_recipe(path, {"seed": 7})


def test_changed_fields_leave_out_what_does_not_change_the_result():
    recipe = parse_recipe(SMALL)
    assert parse_recipe(changed("run", save_every_s=5)).changed_fields(recipe) == []
    assert parse_recipe(changed("run", seed=5)).changed_fields(recipe) == ["run.seed"]
    assert parse_recipe(changed("model", num_recursions=3)).changed_fields(recipe) == [
        "model.num_recursions"
    ]


def test_learning_rate_warms_up_stays_and_decays():
    sections = changed("schedule", warmup_tokens=10_240, decay_fraction=0.2, final_lr_fraction=0.1)
    schedule = make_schedule(parse_recipe(sections))
    rates = [schedule.learning_rate(step) for step in range(schedule.num_steps)]
    assert schedule.num_steps == 98  # 100,000 tokens in steps of 1,024, rounded up
    assert rates[:10] == pytest.approx([3e-3 * n / 10 for n in range(1, 11)])
    assert rates[10:78] == [3e-3] * 68
    falling = rates[77:]
    assert all(later < earlier for earlier, later in itertools.pairwise(falling))
    assert rates[-1] == pytest.approx(3e-4)


def test_budget_in_flops_gives_the_steps_that_spend_it():
    config = parse_recipe(SMALL).config()
    per_step = 16 * training_flops(config, 64, [64, 32])
    assert step_flops(config, 1024) == per_step
    recipe = parse_recipe({**SMALL, "budget": {"flops": float(per_step * 2.5)}})
    assert make_schedule(recipe).num_steps == 3
