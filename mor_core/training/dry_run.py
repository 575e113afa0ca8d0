"""What a recipe costs, without reading any data: steps, tokens, FLOPs, and the paper's numbers beside them."""

from typing import Any, get_args

from mor_core.model.accounting import parameter_count
from mor_core.model.config import MoRConfig
from mor_core.model.paper import (
    BUDGETS,
    PUBLISHED_STEPS,
    TOKENS_PER_STEP,
    PaperName,
    paper_config,
    paper_forward_flops_per_token,
    paper_steps,
)
from mor_core.training.recipe import Recipe
from mor_core.training.training_schedule import make_schedule, step_flops

_SHAPE = (
    "num_prelude_layers",
    "num_layers_per_recursion",
    "num_recursions",
    "num_coda_layers",
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "num_key_value_heads",
    "vocab_size",
    "max_position_embeddings",
    "router_type",
    "kv_strategy",
)


def dry_run(recipe: Recipe) -> dict[str, Any]:
    """Return the size and cost of a run as plain data.

    `training_flops` is this project's count: three times the gathered forward pass, head and router included.
    It is a lower bound where accuracy decides when capacities fall, since steps at full capacity cost more.
    `paper.forward_flops` is the paper's count for the same tokens. It is smaller and covers the forward pass only.
    """
    config, schedule = recipe.config(), make_schedule(recipe)
    tokens = schedule.num_steps * recipe.run.batch_tokens
    per_token = (
        step_flops(config, recipe.run.batch_tokens, length=recipe.sequence_tokens)
        / recipe.run.batch_tokens
    )
    found: dict[str, Any] = {
        "name": recipe.run.name,
        "parameters": parameter_count(config),
        "parameters_without_embeddings": parameter_count(config, with_embeddings=False),
        "steps": schedule.num_steps,
        "warmup_steps": schedule.warmup_steps,
        "decay_steps": schedule.decay_steps,
        "batch_tokens": recipe.run.batch_tokens,
        "tokens": tokens,
        "training_flops": per_token * tokens,
        "training_flops_per_token": per_token,
        "is_lower_bound": recipe.schedule.skill_accuracy > 0,
    }
    name = _paper_name(config)
    if name is not None:
        found["paper"] = _beside_the_paper(config, name, tokens)
    return found


def plan_lines(plan: dict[str, Any]) -> list[str]:
    """Return the result of a dry run as lines of text."""
    lines = [
        f"{plan['name']}: {plan['parameters']:,} parameters, "
        f"{plan['parameters_without_embeddings']:,} without embeddings",
        f"steps: {plan['steps']:,} of {plan['batch_tokens']:,} tokens (warm-up {plan['warmup_steps']:,}, "
        f"decay {plan['decay_steps']:,})",
        f"tokens: {plan['tokens']:,}",
        f"training FLOPs: {plan['training_flops']:.4g} (3 x the gathered forward pass, head and router included)",
    ]
    if plan["is_lower_bound"]:
        lines[-1] += "; at least, since accuracy decides how many steps are at full capacity"
    if "paper" not in plan:
        return [
            *lines,
            "This is not one of the paper's models, so there are no published numbers to compare with.",
        ]
    paper = plan["paper"]
    lines.append(
        f"by the paper's formula, for its {paper['model']} shape: {paper['forward_flops']:.4g} forward FLOPs, "
        f"{paper['steps_of_its_batch']:,.0f} steps of the paper's batch size"
    )
    for budget, steps in paper["steps_by_its_formula"].items():
        lines.append(f"  the paper's budget of {budget} forward FLOPs pays for {steps:,.1f} steps")
    if paper["steps_in_its_configuration"]:
        lines.append(
            f"  the official configuration for 1.65e+19: {paper['steps_in_its_configuration']:,} steps"
        )
    return lines


def _paper_name(config: MoRConfig) -> PaperName | None:
    """Return which of the paper's models a configuration is; `None` if it is not one of them."""
    for name in get_args(PaperName):
        theirs = paper_config(
            name,
            config.num_recursions,
            config.router_type if config.num_recursions > 1 else "none",
            config.kv_strategy,
        )
        if all(getattr(config, field) == getattr(theirs, field) for field in _SHAPE):
            return name  # type: ignore[no-any-return]
    return None


def _beside_the_paper(config: MoRConfig, name: PaperName, tokens: int) -> dict[str, Any]:
    per_token = paper_forward_flops_per_token(config)
    published = PUBLISHED_STEPS.get(
        (name, config.num_recursions, config.router_type, config.kv_strategy)
    )
    return {
        "model": name,
        "forward_flops_per_token": per_token,
        "forward_flops": per_token * tokens,
        "steps_of_its_batch": tokens / TOKENS_PER_STEP,
        "steps_by_its_formula": {
            f"{budget:.3g}": paper_steps(config, budget) for budget in BUDGETS
        },
        "steps_in_its_configuration": published,
    }
