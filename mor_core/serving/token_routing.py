"""A routing rule applied to one token at a time: what `expert_choice.py` and `token_choice.py` say, as plain numbers.

A request that decodes has one token under way, and its rule is its own. What the rule says of each position is
computed once, so that no tensor is made for a token.
"""

from collections.abc import Sequence

import numpy as np
import torch

from mor_core.model.config import MoRConfig
from mor_core.model.expert_choice import entry_thresholds
from mor_core.model.random_draws import OPENING_TOKENS, draw_keys, hash_uniform, text_opening
from mor_core.model.routing_rules import RoutingRule
from mor_core.model.token_choice import given_depths


class TokenRouting:
    """Decides under one rule for one model, by position and score.

    Attributes:
        draws: one list a recursion with a number in [0, 1) for each position, where a control gates by them.
    """

    def __init__(self, config: MoRConfig, rule: RoutingRule, ids: Sequence[int]) -> None:
        """Prepare a rule that was checked against the model and does not see the future, for a text's tokens so far."""
        self._config = config
        self._rule = rule
        self._ceiling = rule.ceiling or config.num_recursions
        self._draws_by_text = rule.draws_by_text(config)
        self._prepare(ids)

    def extend(self, ids: Sequence[int]) -> None:
        """Take the text's tokens, of which the last is new: while it opens, draws depend on it."""
        if self._draws_by_text and len(ids) <= OPENING_TOKENS:
            self._prepare(ids)

    def _prepare(self, ids: Sequence[int]) -> None:
        config, rule = self._config, self._rule
        positions = torch.arange(config.max_position_embeddings)[None]
        opening = None
        if self._draws_by_text:
            first = torch.tensor([list(ids[:OPENING_TOKENS])])
            opening = text_opening(first, positions[:, : first.shape[1]], None, None)
        keys = draw_keys(positions, opening)
        recursions = range(config.num_recursions) if config.has_router else range(0)
        self._least_logits: list[float | list[float]] = []
        self._given_depths: list[int] = []
        if config.router.chooses_once:
            self._given_depths = given_depths(config, rule, positions, keys)[0].tolist()
        else:
            found = (entry_thresholds(config, rule, index, positions, keys) for index in recursions)
            self._least_logits = [
                # Logits are float32, so what they are held against is too.
                float(np.float32(least)) if isinstance(least, float) else least[0].tolist()
                for least in found
            ]
        self.draws: list[list[float]] = []
        if config.router_control == "random_scores":
            self.draws = [hash_uniform(keys, index, rule.seed)[0].tolist() for index in recursions]

    def enters(self, recursion_idx: int, position: int, logit: float) -> bool:
        """Whether an expert-choice token that took part in all recursions before enters this one."""
        least = self._least_logits[recursion_idx]
        return logit >= (least if isinstance(least, float) else least[position])

    def depth(self, position: int, own_choice: int) -> int:
        """Return the depth of a token-choice token, whose most probable one is `own_choice`."""
        return min(self._given_depths[position] or own_choice, self._ceiling)
