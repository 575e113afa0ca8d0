"""The plan of a run: how many steps a budget pays for, and each step's learning rate and capacities.

Source: arXiv 2507.10524, Appendix B (warm-up, stable, decay).
"""

import functools
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
    """How expert-choice capacities come down from 1 to the model's own: along half a cosine of the progress made.

    By tokens, progress follows the steps: 0 while capacities are held, then evenly to 1. Earned, it goes up by one of
    `num_levels` when the answers to held-out questions are right under the capacities of the next level: a fall that
    begins before a skill is there keeps it from being learned, and one that goes on while accuracy is lost drops tokens
    whose scores do not stand apart yet.

    Attributes:
        final: the model's own capacities.
        hold_steps: first steps, at capacity 1.
        fall_steps: over which they fall; 0 for none.
        num_levels: of an earned fall; 0 for a fall by tokens.
        check_steps: optimiser steps between two checks of an earned fall.
        accuracy: share of right answers that earns a level.
    """

    final: tuple[float, ...]
    hold_steps: int = 0
    fall_steps: int = 0
    num_levels: int = 0
    check_steps: int = 1
    accuracy: float = 1.0

    @property
    def num_steps(self) -> int:
        """Steps of a fall by tokens, the hold included."""
        return self.hold_steps + self.fall_steps

    @property
    def is_earned(self) -> bool:
        """Whether held-out answers decide when capacities fall."""
        return self.num_levels > 0

    def capacities(self, step: int, level: int = 0) -> tuple[float, ...] | None:
        """Return the capacities of a 0-based step, or of a level that was earned; `None` once they are the model's."""
        if self.is_earned:
            return self._at(level / self.num_levels) if level < self.num_levels else None
        if step >= self.num_steps:
            return None
        return self._at(max(0, step - self.hold_steps) / max(1, self.fall_steps))

    def rule(self, step: int, level: int = 0) -> RoutingRule | None:
        """Return the rule to train a step by; `None` once it is the model's own."""
        capacities = self.capacities(step, level)
        return RoutingRule.top_k(capacities) if capacities else None

    def is_due(self, num_steps_done: int, level: int) -> bool:
        """Whether the next level is to be tried after so many steps."""
        return self.is_earned and level < self.num_levels and num_steps_done % self.check_steps == 0

    def trial_rule(self, level: int) -> RoutingRule:
        """Return the rule under which answers must be right for `level` to be followed by the next one.

        The first level, at full capacity, is tried as it is: the skill must be there before anything falls.
        """
        return self.rule(0, level + 1 if level else 0) or RoutingRule.top_k()

    def _at(self, progress: float) -> tuple[float, ...]:
        left = 0.5 * (1 + math.cos(math.pi * progress))
        return tuple(factor + (1 - factor) * left for factor in self.final)


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
    schedule = recipe.schedule
    capacities = CapacityPlan(
        config.capacity_schedule,
        math.ceil(schedule.capacity_hold_tokens / batch),
        math.ceil(schedule.capacity_warmup_tokens / batch),
        schedule.capacity_levels,
        schedule.capacity_check_steps,
        schedule.capacity_accuracy,
    )
    if recipe.budget.tokens:
        num_steps = math.ceil(recipe.budget.tokens / batch)
    else:
        num_steps = _affordable_steps(recipe, recipe.budget.flops, capacities)
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


def _affordable_steps(recipe: Recipe, budget: float, capacities: CapacityPlan) -> int:
    """Return how many steps it takes to spend a budget of FLOPs; those of capacity warm-up cost more."""
    batch, length = recipe.run.batch_tokens, recipe.sequence_tokens
    flops = functools.partial(step_flops, recipe.config(), batch, length=length)
    for step in range(capacities.num_steps):
        budget -= flops(capacities.capacities(step))
        if budget <= 0:
            return step + 1
    return capacities.num_steps + math.ceil(budget / flops())


def step_flops(
    config: MoRConfig,
    batch_tokens: int,
    capacities: tuple[float, ...] | None = None,
    *,
    length: int | None = None,
) -> int:
    """Return the training FLOPs of one step under the top-k rule.

    Args:
        config: of the model.
        batch_tokens: of the step.
        capacities: `None` for the model's own.
        length: tokens of a row, `None` for the context.
    """
    length = length or config.max_position_embeddings
    counts = [max(1, int(factor * length)) for factor in capacities or config.capacity_schedule]
    return batch_tokens // length * training_flops(config, length, counts)
