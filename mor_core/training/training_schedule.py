"""The plan of a run: how many steps a budget pays for, and each step's learning rate and capacities.

Source: arXiv 2507.10524, Appendix B (warm-up, stable, decay).
"""

import math
from dataclasses import dataclass

from mor_core.model.accounting import training_flops
from mor_core.model.config import MoRConfig
from mor_core.model.routing_rules import RoutingRule
from mor_core.training.recipe import Recipe, RecipeError


@dataclass(frozen=True)
class Plan:
    """What a budget comes to in optimiser steps.

    Attributes:
        num_steps: of the whole run.
        warmup_steps: first steps, over which the rate rises.
        decay_steps: last steps, over which it falls.
        peak: learning rate of the plateau.
        floor: learning rate of the last step.
        capacities: their warm-up.
        kept_step: after which the state is kept for good; 0 for never.
    """

    num_steps: int
    warmup_steps: int
    decay_steps: int
    peak: float
    floor: float
    capacities: "CapacityPlan"
    kept_step: int = 0

    @property
    def first_decay_step(self) -> int:
        """0-based index of the first step of the decay."""
        return self.num_steps - self.decay_steps

    def learning_rate(self, step: int) -> float:
        """Return the rate of a 0-based step: above 0 at the first, `floor` at the last of a decay."""
        rate = self.peak
        if step < self.warmup_steps:
            rate = self.peak * (step + 1) / self.warmup_steps
        if step >= self.first_decay_step:
            fallen = (step + 1 - self.first_decay_step) / self.decay_steps
            rate = min(rate, self.peak + (self.floor - self.peak) * fallen)
        return rate


@dataclass(frozen=True)
class CapacityPlan:
    """Capacity warm-up: over the first `num_steps`, capacities fall from 1 to `final` along half a cosine."""

    final: tuple[float, ...]
    num_steps: int

    def warm(self, step: int) -> tuple[float, ...] | None:
        """Return the capacities of a 0-based step; `None` once it is the model's own."""
        if step >= self.num_steps:
            return None
        left = 0.5 * (1 + math.cos(math.pi * step / self.num_steps))
        return tuple(factor + (1 - factor) * left for factor in self.final)

    def rule(self, step: int) -> RoutingRule | None:
        """Return the rule to train a 0-based step by; `None` once it is the model's own."""
        warm = self.warm(step)
        return RoutingRule.top_k(warm) if warm else None


def make_plan(recipe: Recipe) -> Plan:
    """Turn a budget of tokens or FLOPs into whole steps, rounded up.

    Under the top-k rule each sequence gives recursion r the same number of tokens, so a step's FLOPs are known. With
    token-choice they are those of even loads, and with Switch experts those without drops.

    Raises:
        RecipeError: the state is to be kept where no run could branch off.
    """
    batch = recipe.run.batch_tokens
    config = recipe.config()
    peak = recipe.optimiser.learning_rate
    decay = recipe.schedule.decay_fraction
    capacities = CapacityPlan(
        config.capacity_schedule, math.ceil(recipe.schedule.capacity_warmup_tokens / batch)
    )
    if recipe.budget.tokens:
        num_steps = math.ceil(recipe.budget.tokens / batch)
    else:
        num_steps = _affordable_steps(config, batch, recipe.budget.flops, capacities)
    plan = Plan(
        num_steps=num_steps,
        warmup_steps=math.ceil(recipe.schedule.warmup_tokens / batch),
        decay_steps=math.ceil(num_steps * decay),
        peak=peak,
        floor=peak * recipe.schedule.final_lr_fraction,
        capacities=capacities,
        kept_step=recipe.run.keep_state_tokens // batch,
    )
    if recipe.run.keep_state_tokens and not 0 < plan.kept_step <= plan.first_decay_step:
        raise RecipeError(
            f"[run] keep_state_tokens must lie between one step and the decay of the learning rate ({batch} to "
            f"{plan.first_decay_step * batch}), got {recipe.run.keep_state_tokens}"
        )
    return plan


def _affordable_steps(
    config: MoRConfig, batch_tokens: int, budget: float, capacities: "CapacityPlan"
) -> int:
    """Return how many steps it takes to spend a budget of FLOPs; those of capacity warm-up cost more."""
    for step in range(capacities.num_steps):
        budget -= step_flops(config, batch_tokens, capacities.warm(step))
        if budget <= 0:
            return step + 1
    return capacities.num_steps + math.ceil(budget / step_flops(config, batch_tokens))


def step_flops(
    config: MoRConfig, batch_tokens: int, capacities: tuple[float, ...] | None = None
) -> int:
    """Return the training FLOPs of one step under the top-k rule, with other capacities if they are given."""
    length = config.max_position_embeddings
    counts = [max(1, int(factor * length)) for factor in capacities or config.capacity_schedule]
    return batch_tokens // length * training_flops(config, length, counts)
