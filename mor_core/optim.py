"""The optimiser and the plan of a run: how many steps, and the learning rate of each.

Source: arXiv 2507.10524, Appendix B (AdamW; warm-up, stable, decay); arXiv 2502.16982 (Muon at AdamW's rate).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mor_core.accounting import training_flops
from mor_core.config import MoRConfig
from mor_core.decoder import DecoderLayer
from mor_core.hardware import multiplies_bf16_natively
from mor_core.muon import Muon
from mor_core.recipe import Recipe
from mor_core.recipe_sections import OptimiserSection
from mor_core.routing import ExpertChoiceRouter

_FUSED_ON = ("cpu", "cuda")
AUX_ROUTER_RATE = 10.0  # times the model's learning rate


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
    """

    num_steps: int
    warmup_steps: int
    decay_steps: int
    peak: float
    floor: float
    capacities: "CapacityPlan"

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


def make_plan(recipe: Recipe) -> Plan:
    """Turn a budget of tokens or FLOPs into whole steps, rounded up.

    Under the top-k rule each sequence gives recursion r the same number of tokens, so a step's FLOPs are known. With
    token-choice they are those of even loads, and with Switch experts those without drops.
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
    return Plan(
        num_steps=num_steps,
        warmup_steps=math.ceil(recipe.schedule.warmup_tokens / batch),
        decay_steps=math.ceil(num_steps * decay),
        peak=peak,
        floor=peak * recipe.schedule.final_lr_fraction,
        capacities=capacities,
    )


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


def make_optimiser(
    model: nn.Module, settings: OptimiserSection, device: torch.device
) -> torch.optim.Optimizer:
    """Build the optimiser; matrices (embedding and routers among them, as in the official code) decay, norms do not.

    Auxiliary routers learn ten times as fast as the rest, in a group of their own, as in the official code.
    """
    of_layers = []
    if settings.name == "muon":
        layers = (module for module in model.modules() if isinstance(module, DecoderLayer))
        of_layers = [
            weight for layer in layers for weight in layer.parameters() if weight.dim() == 2
        ]
    taken = set(map(id, of_layers))
    auxiliary = aux_router_weights(model)
    taken |= set(map(id, auxiliary))
    others = [weight for weight in model.parameters() if id(weight) not in taken]
    matrices = [weight for weight in others if weight.dim() >= 2]
    vectors = [weight for weight in others if weight.dim() < 2]
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    if auxiliary:
        groups.append(
            {
                "params": auxiliary,
                "weight_decay": settings.weight_decay,
                "rate_factor": AUX_ROUTER_RATE,
            }
        )
    adamw = torch.optim.AdamW(
        groups,
        lr=settings.learning_rate,
        betas=(settings.beta1, settings.beta2),
        eps=settings.epsilon,
        fused=device.type in _FUSED_ON,
    )
    if not of_layers:
        return adamw
    dtype = torch.bfloat16 if multiplies_bf16_natively(device) else torch.float32
    muon = Muon(of_layers, settings.learning_rate, settings.weight_decay, dtype)
    return OptimiserPair(muon, adamw)


def aux_router_weights(model: nn.Module) -> list[nn.Parameter]:
    """Return the weights of auxiliary routers, which learn and are clipped apart from the model."""
    return [
        weight
        for router in model.modules()
        if isinstance(router, ExpertChoiceRouter) and router.aux_network is not None
        for weight in router.aux_network.parameters()
    ]


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set every group's learning rate."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group.get("rate_factor", 1.0)


class OptimiserPair(torch.optim.Optimizer):
    """Two optimisers of different weights, driven as one."""

    def __init__(self, first: torch.optim.Optimizer, second: torch.optim.Optimizer) -> None:
        super().__init__([*first.param_groups, *second.param_groups], {})
        self.parts = (first, second)
        self._share_groups()

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Let both take a step; a closure is not supported."""
        assert closure is None, "a pair of optimisers takes no closure"
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self._share_groups()

    def _share_groups(self) -> None:
        """The groups are the parts' own, so that a rate set here is theirs; loading a state makes new ones."""
        self.param_groups = [group for part in self.parts for group in part.param_groups]
