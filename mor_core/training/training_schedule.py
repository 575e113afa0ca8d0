"""The schedule of a run: how many steps a budget pays for, and each step's learning rate and capacities.

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
class TrainingSchedule:
    """A budget in optimiser steps, and the learning rate and capacities of each step.

    Attributes:
        num_steps: optimiser steps of the whole run.
        warmup_steps: first steps, over which the learning rate rises.
        decay_steps: last steps, over which the learning rate falls.
        peak: learning rate of the plateau.
        floor: learning rate of the last step.
        capacities: the warm-up of expert-choice capacities.
        kept_step: step after which a copy of the state is kept permanently; 0 for never.
    """

    num_steps: int
    warmup_steps: int
    decay_steps: int
    peak: float
    floor: float
    capacities: "CapacitySchedule"
    kept_step: int = 0

    @property
    def first_decay_step(self) -> int:
        """0-based index of the first step of the decay."""
        return self.num_steps - self.decay_steps

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a 0-based step: above 0 at the first step, `floor` at the end of a decay."""
        rate = self.peak
        if step < self.warmup_steps:
            rate = self.peak * (step + 1) / self.warmup_steps
        if step >= self.first_decay_step:
            fallen = (step + 1 - self.first_decay_step) / self.decay_steps
            rate = min(rate, self.peak + (self.floor - self.peak) * fallen)
        return rate


@dataclass(frozen=True)
class CapacitySchedule:
    """How expert-choice capacities fall from 1 to the configured ones: a half cosine of a progress from 0 to 1.

    There are two kinds of fall. In a fall by tokens, the progress stays 0 for the held steps and then grows linearly
    with the steps. In an accuracy-gated fall, the progress rises by one of `num_levels` once the model answers
    held-out questions correctly under the capacities of the next level. The gate has two reasons: the model does not
    learn a skill if capacities fall before it, and if they keep falling while accuracy drops, they exclude tokens
    that the router does not separate yet.

    Attributes:
        final: the configured capacities.
        hold_steps: first steps, at capacity 1.
        fall_steps: steps over which the capacities fall; 0 for no fall.
        num_levels: levels of an accuracy-gated fall; 0 for a fall by tokens.
        check_steps: optimiser steps between two checks of an accuracy-gated fall.
        accuracy: share of correct answers that is required for the next level.
    """

    final: tuple[float, ...]
    hold_steps: int = 0
    fall_steps: int = 0
    num_levels: int = 0
    check_steps: int = 1
    accuracy: float = 1.0

    @property
    def num_steps(self) -> int:
        """Steps until a fall by tokens ends, held steps included."""
        return self.hold_steps + self.fall_steps

    @property
    def is_accuracy_gated(self) -> bool:
        """Whether accuracy on held-out questions decides when capacities fall."""
        return self.num_levels > 0

    def capacities(self, step: int, level: int = 0) -> tuple[float, ...] | None:
        """Return the capacities of a 0-based step, or of a level reached; `None` once they are the configured ones."""
        if self.is_accuracy_gated:
            return self._at(level / self.num_levels) if level < self.num_levels else None
        if step >= self.num_steps:
            return None
        return self._at(max(0, step - self.hold_steps) / max(1, self.fall_steps))

    def rule(self, step: int, level: int = 0) -> RoutingRule | None:
        """Return the routing rule to train a step with; `None` once it is the model's own."""
        capacities = self.capacities(step, level)
        return RoutingRule.top_k(capacities) if capacities else None

    def is_due(self, num_steps_done: int, level: int) -> bool:
        """Whether to try the next level now that `num_steps_done` steps are done."""
        is_check = num_steps_done % self.check_steps == 0
        return self.is_accuracy_gated and level < self.num_levels and is_check

    def trial_rule(self, level: int) -> RoutingRule:
        """Return the routing rule under which the model must answer correctly to move from `level` to the next.

        Level 0, at full capacity, is tried at full capacity: the model must have the skill before capacities fall.
        """
        return self.rule(0, level + 1 if level else 0) or RoutingRule.top_k()

    def _at(self, progress: float) -> tuple[float, ...]:
        remaining = 0.5 * (1 + math.cos(math.pi * progress))
        return tuple(factor + (1 - factor) * remaining for factor in self.final)


def make_schedule(recipe: Recipe) -> TrainingSchedule:
    """Turn a budget of tokens or FLOPs into whole steps, rounded up.

    Under the top-k rule each recursion processes the same number of tokens in every sequence, so a step's FLOPs are
    known. For token-choice they assume an even load over the depths, for Switch experts that no token is dropped.

    Raises:
        RecipeError: `keep_state_tokens` lies where no run could branch off.
    """
    batch = recipe.run.batch_tokens
    config = recipe.config()
    peak = recipe.optimiser.learning_rate
    section = recipe.schedule
    capacities = CapacitySchedule(
        config.capacity_schedule,
        math.ceil(section.capacity_hold_tokens / batch),
        math.ceil(section.capacity_warmup_tokens / batch),
        section.capacity_levels,
        section.capacity_check_steps,
        section.capacity_accuracy,
    )
    if recipe.budget.tokens:
        num_steps = math.ceil(recipe.budget.tokens / batch)
    else:
        num_steps = _affordable_steps(recipe, recipe.budget.flops, capacities)
    schedule = TrainingSchedule(
        num_steps=num_steps,
        warmup_steps=math.ceil(section.warmup_tokens / batch),
        decay_steps=math.ceil(num_steps * section.decay_fraction),
        peak=peak,
        floor=peak * section.final_lr_fraction,
        capacities=capacities,
        kept_step=recipe.run.keep_state_tokens // batch,
    )
    if recipe.run.keep_state_tokens and not 0 < schedule.kept_step <= schedule.first_decay_step:
        raise RecipeError(
            f"[run] keep_state_tokens must lie between one step and the decay of the learning rate ({batch} to "
            f"{schedule.first_decay_step * batch}), got {recipe.run.keep_state_tokens}"
        )
    return schedule


def _affordable_steps(recipe: Recipe, budget: float, capacities: CapacitySchedule) -> int:
    """Return how many steps spend a budget of FLOPs; the steps of the capacity warm-up cost more than the rest."""
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
        config: the model's configuration.
        batch_tokens: tokens of the step.
        capacities: share of the tokens in each recursion; `None` for the configured ones.
        length: tokens of a row; `None` for the context length.
    """
    length = length or config.max_position_embeddings
    counts = [max(1, int(factor * length)) for factor in capacities or config.capacity_schedule]
    return batch_tokens // length * training_flops(config, length, counts)
