"""Who goes on, for one token at a time: the rules of `expert_choice.py` and `token_choice.py` without tensors.

A request that decodes has one token under way, and its rule is its own. Tests hold every rule here against the
whole-sequence form.
"""

import numpy as np
import torch

from mor_core.model.config import MoRConfig
from mor_core.model.routers import hash_uniform
from mor_core.model.routing_rules import RoutingRule


class Decider:
    """Decides under one rule for one model, by position and score."""

    def __init__(self, config: MoRConfig, rule: RoutingRule) -> None:
        """Prepare a rule that was checked against the model and does not see the future."""
        self.rule = rule
        self.num_recursions = config.num_recursions
        self._factors = config.capacity_schedule
        # Scores are float32, so what they are held against is too.
        self._threshold_logits = [
            float(np.float32(rule.threshold_logit(index))) for index in range(config.num_recursions)
        ]
        self._is_control = config.router_control != "none"
        self.draws: list[list[float]] = []
        if self._is_control or rule.name == "random":
            positions = torch.arange(config.max_position_embeddings)[None]
            self.draws = [
                hash_uniform(positions, index, rule.seed)[0].tolist()
                for index in range(config.num_recursions)
            ]

    def enters(self, recursion_idx: int, position: int, logit: float) -> bool:
        """Whether an expert-choice token that took part in all recursions before enters this one."""
        rule, factor = self.rule, self._factors[recursion_idx]
        if rule.ceiling is not None and recursion_idx >= rule.ceiling:
            return False
        if rule.name == "fixed":
            return True
        forced = self._forced(position)
        if forced:
            return forced > recursion_idx
        if factor == 1:
            return True
        share = factor / (self._factors[recursion_idx - 1] if recursion_idx else 1.0)
        if rule.name == "random":
            return self.draws[recursion_idx][position] < share
        if self._is_control:
            return self.draws[recursion_idx][position] >= 1 - share
        return logit >= self._threshold_logits[recursion_idx]

    def depth(self, position: int, own_choice: int) -> int:
        """Return the depth of a token-choice token, whose most probable one is `own_choice`."""
        rule = self.rule
        if rule.depth is not None:
            return rule.depth
        is_drawn = rule.name == "random" or self._is_control
        depth = self._drawn_depth(position) if is_drawn else self._forced(position) or own_choice
        return min(depth, rule.max_depth or depth)

    def _forced(self, position: int) -> int:
        """Return the depth that the rule gives a position, 0 where the token is free."""
        depths = self.rule.depths
        return depths[position] or 0 if position < len(depths) else 0

    def _drawn_depth(self, position: int) -> int:
        depth = 1
        for index in range(1, self.num_recursions):
            share = self._factors[index] / self._factors[index - 1]
            if self.draws[index][position] >= share:
                break
            depth += 1
        return depth
