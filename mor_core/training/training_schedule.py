"""The schedule of a run: how many steps a budget pays for, and each step's learning rate and capacities.

Source: arXiv 2507.10524, Appendix B (warm-up, stable, decay).
"""

import functools
import math
from dataclasses import dataclass
from typing import NamedTuple

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


SKILL, SEPARATION, OWN = range(3)
"""Stages of accuracy-gated capacities."""


class StepRouting(NamedTuple):
    """How a training step routes, and how its router losses weigh.

    Attributes:
        rule: `None` for the model's own.
        loss_weights: in place of the config's; `None` for those.
    """

    rule: RoutingRule | None
    loss_weights: dict[str, float] | None = None


@dataclass(frozen=True)
class CapacitySchedule:
    """How expert-choice capacities come down from 1 to the configured ones: by tokens, or gated by accuracy.

    By tokens, capacities are held at 1 and then fall along half a cosine. Gated by accuracy, a run has three stages,
    because a router fails in two ways: capacities fall before the model has the skill that needs depth, or tokens are
    dropped before their scores differ from those of tokens that are done.

    - skill: capacity 1; the auxiliary loss keeps the gates open, depth has no price. It ends when held-out answers are
      correct at full depth.
    - separation: capacity 1; the language model's loss against the price on depth sets the scores apart, the auxiliary
      loss is left out. It ends when held-out answers are correct under the configured capacities.
    - own: the configured capacities with all losses. Until the learning rate decays, every `full_capacity_every`-th
      step is one of the separation stage, so that a token that was dropped by mistake can still be learned.

    Attributes:
        final: the configured capacities.
        hold_steps: first steps, at capacity 1.
        fall_steps: steps over which the capacities fall; 0 for no fall.
        skill_accuracy: share of correct answers that ends the skill stage; 0 for capacities by tokens.
        separation_accuracy: share of correct answers that ends the separation stage.
        check_steps: optimiser steps between two checks.
        full_capacity_every: see above; 0 for never.
    """

    final: tuple[float, ...]
    hold_steps: int = 0
    fall_steps: int = 0
    skill_accuracy: float = 0.0
    separation_accuracy: float = 0.0
    check_steps: int = 1
    full_capacity_every: int = 0

    @property
    def num_steps(self) -> int:
        """Steps until a fall by tokens ends, held steps included."""
        return self.hold_steps + self.fall_steps

    @property
    def is_accuracy_gated(self) -> bool:
        """Whether accuracy on held-out questions decides when capacities fall."""
        return self.skill_accuracy > 0

    def capacities(self, step: int) -> tuple[float, ...] | None:
        """Return the capacities of a 0-based step by tokens; `None` once they are the configured ones."""
        if step >= self.num_steps:
            return None
        progress = max(0, step - self.hold_steps) / max(1, self.fall_steps)
        remaining = 0.5 * (1 + math.cos(math.pi * progress))
        return tuple(factor + (1 - factor) * remaining for factor in self.final)

    def routing(self, step: int, stage: int = SKILL, *, decays: bool = False) -> StepRouting:
        """Return how to train a step.

        Args:
            step: 0-based.
            stage: reached, for accuracy-gated capacities.
            decays: whether the learning rate decays at this step.
        """
        if not self.is_accuracy_gated:
            capacities = self.capacities(step)
            return StepRouting(RoutingRule.top_k(capacities) if capacities else None)
        if stage == SKILL:
            return StepRouting(self._full, {"depth_price": 0.0})
        every = self.full_capacity_every
        if stage == SEPARATION or (every and not decays and step % every == 0):
            return StepRouting(self._full, {"aux": 0.0})
        return StepRouting(None)

    def is_due(self, num_steps_done: int, stage: int) -> bool:
        """Whether to check if a stage has ended, now that `num_steps_done` steps are done."""
        return self.is_accuracy_gated and stage < OWN and num_steps_done % self.check_steps == 0

    def gate(self, stage: int) -> tuple[RoutingRule, float]:
        """Return the rule under which held-out answers must be correct to end a stage, and the share of them."""
        if stage == SKILL:
            return self._full, self.skill_accuracy
        return RoutingRule.top_k(), self.separation_accuracy

    @property
    def _full(self) -> RoutingRule:
        return RoutingRule.top_k([1.0] * len(self.final))


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
        section.skill_accuracy,
        section.separation_accuracy,
        section.accuracy_check_steps,
        section.full_capacity_every,
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
