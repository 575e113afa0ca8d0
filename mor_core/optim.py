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

_FUSED_ON = ("cpu", "cuda")


@dataclass(frozen=True)
class Plan:
    """What a budget comes to in optimiser steps.

    Attributes:
        num_steps: of the whole run.
        warmup_steps: first steps, over which the rate rises.
        decay_steps: last steps, over which it falls.
        peak: learning rate of the plateau.
        floor: learning rate of the last step.
    """

    num_steps: int
    warmup_steps: int
    decay_steps: int
    peak: float
    floor: float

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


def make_plan(recipe: Recipe) -> Plan:
    """Turn a budget of tokens or FLOPs into whole steps, rounded up.

    Under the top-k rule each sequence gives recursion r the same number of tokens, so a step's FLOPs are known.
    """
    batch = recipe.run.batch_tokens
    if recipe.budget.tokens:
        num_steps = math.ceil(recipe.budget.tokens / batch)
    else:
        num_steps = math.ceil(recipe.budget.flops / step_flops(recipe.config(), batch))
    peak = recipe.optimiser.learning_rate
    decay = recipe.schedule.decay_fraction
    return Plan(
        num_steps=num_steps,
        warmup_steps=math.ceil(recipe.schedule.warmup_tokens / batch),
        decay_steps=math.ceil(num_steps * decay),
        peak=peak,
        floor=peak * recipe.schedule.final_lr_fraction,
    )


def step_flops(config: MoRConfig, batch_tokens: int) -> int:
    """Return the training FLOPs of one step under the top-k rule."""
    length = config.max_position_embeddings
    counts = [max(1, int(factor * length)) for factor in config.capacity_schedule]
    return batch_tokens // length * training_flops(config, length, counts)


def make_optimiser(
    model: nn.Module, settings: OptimiserSection, device: torch.device
) -> torch.optim.Optimizer:
    """Build the optimiser; matrices (embedding and routers among them, as in the official code) decay, norms do not."""
    of_layers = []
    if settings.name == "muon":
        layers = (module for module in model.modules() if isinstance(module, DecoderLayer))
        of_layers = [
            weight for layer in layers for weight in layer.parameters() if weight.dim() == 2
        ]
    taken = set(map(id, of_layers))
    others = [weight for weight in model.parameters() if id(weight) not in taken]
    matrices = [weight for weight in others if weight.dim() >= 2]
    vectors = [weight for weight in others if weight.dim() < 2]
    adamw = torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": settings.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ],
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
