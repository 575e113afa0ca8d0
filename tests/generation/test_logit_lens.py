"""Early exits: the last is the model's own prediction, and earlier ones are what the coda says of an earlier state."""

import pytest
import torch

from mor_core import RoutingRule
from mor_core.generation.logit_lens import early_exit_logits
from mor_core.model.cache import RecursionCache
from tests.models import ROUTED, UNROUTED, tiny_model, token_ids

FAMILY = {name: fields for name, fields in (ROUTED | UNROUTED).items() if "sharing" not in fields}


@pytest.mark.parametrize("fields", FAMILY.values(), ids=FAMILY)
def test_the_last_exit_is_the_models_own_prediction(fields):
    model, ids = tiny_model(**fields), token_ids(2, 12)
    with torch.inference_mode():
        own = model(ids, use_cache=False).logits
    exits, _ = early_exit_logits(model, ids, RoutingRule.causal())
    assert len(exits) == model.config.num_recursions
    torch.testing.assert_close(exits[-1], own, atol=1e-5, rtol=1e-5)


def test_a_token_that_left_early_predicts_the_same_ever_after():
    model, ids = tiny_model(), token_ids(2, 40)
    exits, trace = early_exit_logits(model, ids, RoutingRule.causal())
    for recursion in (1, 2):
        left = trace.depth() <= recursion
        assert left.any()
        assert not left.all()
        torch.testing.assert_close(exits[recursion - 1][left], exits[-1][left], atol=1e-5, rtol=0)
        assert not torch.allclose(exits[recursion - 1][~left], exits[-1][~left], atol=1e-3)


@pytest.mark.parametrize("name", ["default", "long prelude and coda"])
def test_an_exit_is_a_run_whose_newest_token_alone_stops_early(name):
    """Reference: earlier positions as they are, in a cache, then the token under a depth of one less."""
    model, ids = tiny_model(**ROUTED[name]), token_ids(1, 14)
    exits, trace = early_exit_logits(model, ids, RoutingRule.causal())
    checked = 0
    for position, depth in enumerate(trace.depth()[0].tolist()):
        if position == 0 or depth < 2:
            continue
        with torch.inference_mode():
            cache = RecursionCache(model.config)
            model(ids[:, :position], past_key_values=cache)
            capped = RoutingRule.forced([None] * position + [depth - 1])
            alone = model(ids[:, position : position + 1], past_key_values=cache, routing=capped)
        torch.testing.assert_close(
            exits[depth - 2][0, position], alone.logits[0, 0], atol=1e-5, rtol=0
        )
        checked += 1
    assert checked > 3


def test_sequence_sharing_has_no_state_between_recursions():
    with pytest.raises(ValueError, match="sharing=sequence"):
        early_exit_logits(tiny_model(**UNROUTED["sequence"]), token_ids(1, 5), RoutingRule.causal())
