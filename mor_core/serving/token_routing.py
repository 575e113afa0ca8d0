"""A routing rule applied to one token at a time: the decisions of `expert_choice.py` and `token_choice.py` as numbers.

Each request decodes one token at a time under its own rule. The thresholds and depths of all positions are computed
once per request, so that no tensor is made for each token.
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
    """Decides under one rule for one model, by a token's position and router output.

    Attributes:
        random_scores: per recursion, a score in [0, 1) for each position, where a control uses them as gates.
    """

    def __init__(self, config: MoRConfig, rule: RoutingRule, ids: Sequence[int]) -> None:
        """Prepare a rule, which must fit the model and not see the future, for the token ids of a text so far."""
        self._config = config
        self._rule = rule
        self._ceiling = rule.ceiling or config.num_recursions
        self._draws_by_text = rule.draws_by_text(config)
        self._prepare(ids)

    def extend(self, ids: Sequence[int]) -> None:
        """Take the text's token ids, the last of which is new; random routing depends on the first ones."""
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
        self._thresholds: list[float | list[float]] = []
        self._given_depths: list[int] = []
        if config.router.chooses_once:
            self._given_depths = given_depths(config, rule, positions, keys)[0].tolist()
        else:
            found = (entry_thresholds(config, rule, index, positions, keys) for index in recursions)
            self._thresholds = [
                # Rounded to float32, as the logits that are compared to it.
                float(np.float32(threshold))
                if isinstance(threshold, float)
                else threshold[0].tolist()
                for threshold in found
            ]
        self.random_scores: list[list[float]] = []
        if config.router_control == "random_scores":
            self.random_scores = [
                hash_uniform(keys, index, rule.seed)[0].tolist() for index in recursions
            ]

    def enters(self, recursion_idx: int, position: int, logit: float) -> bool:
        """Whether an expert-choice token that took part in all earlier recursions enters this one."""
        threshold = self._thresholds[recursion_idx]
        return logit >= (threshold if isinstance(threshold, float) else threshold[position])

    def depth(self, position: int, own_choice: int) -> int:
        """Return the depth of a token-choice token whose most probable depth is `own_choice`."""
        return min(self._given_depths[position] or own_choice, self._ceiling)
