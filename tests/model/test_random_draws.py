"""Random routing depends on seed, recursion, position and the text's opening, not on row, batch or cache."""

import pytest
import torch

from mor_core import RecursionCache, RoutingRule
from mor_core.model.random_draws import (
    OPENING_TOKENS,
    draw_keys,
    hash_uniform,
    select_random,
    text_opening,
)
from tests.models import TOKEN_CHOICE, tiny_config, tiny_model, token_ids

RULE = RoutingRule.random(seed=3)
KINDS = {
    "expert-choice": {},
    "token-choice": TOKEN_CHOICE,
    "control": {"router_control": "random_selection"},
    "random gates": {"router_control": "random_scores"},
}


def depths(model, ids, **options):
    with torch.no_grad():
        return model(ids, routing=options.pop("rule", RULE), **options).recursion_trace.depth()


def test_texts_of_one_shape_have_different_draws():
    model = tiny_model()
    texts = torch.cat([token_ids(1, 40, seed=seed) for seed in range(6)])
    found = depths(model, texts)
    assert len({tuple(row) for row in found.tolist()}) == 6
    by_position = RoutingRule("random", seed=3, draws="position")
    assert len({tuple(row) for row in depths(model, texts, rule=by_position).tolist()}) == 1


@pytest.mark.parametrize("fields", KINDS.values(), ids=KINDS)
def test_a_text_has_the_same_draws_alone_in_a_batch_and_with_padding(fields):
    model = tiny_model(**fields)
    rule = RULE if "router_control" not in fields else RoutingRule.causal()
    texts = [token_ids(1, length, seed=length) for length in (7, 20, 33)]
    width = max(text.shape[1] for text in texts)
    padded = torch.cat(
        [torch.nn.functional.pad(text, (width - text.shape[1], 0)) for text in texts]
    )
    mask = torch.tensor([[0] * (width - t.shape[1]) + [1] * t.shape[1] for t in texts])
    together = depths(model, padded, rule=rule, attention_mask=mask)
    for row, text in enumerate(texts):
        alone = depths(model, text, rule=rule)
        assert together[row, -text.shape[1] :].tolist() == alone[0].tolist()


@pytest.mark.parametrize("fields", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("prompt", [1, 5, OPENING_TOKENS, 30])
def test_cached_draws_equal_recomputed_ones_while_the_text_opens_and_after(fields, prompt):
    model = tiny_model(**fields)
    rule = RULE if "router_control" not in fields else RoutingRule.causal()
    ids = token_ids(2, 40, seed=1)
    cache = RecursionCache(model.config)
    found = [depths(model, ids[:, :prompt], rule=rule, past_key_values=cache)]
    for position in range(prompt, 40):
        step = ids[:, position : position + 1]
        found.append(depths(model, step, rule=rule, past_key_values=cache))
        whole = depths(model, ids[:, : position + 1], rule=rule, use_cache=False)
        assert torch.equal(torch.cat(found, dim=1), whole)


def test_beams_take_their_opening_along():
    model = tiny_model()
    ids = token_ids(2, 6, seed=2)
    cache = RecursionCache(model.config)
    depths(model, ids, past_key_values=cache)
    cache.reorder_cache(torch.tensor([1, 1]))
    newest = token_ids(1, 1, seed=9).repeat(2, 1)
    found = depths(model, newest, past_key_values=cache)
    whole = depths(model, torch.cat((ids[[1, 1]], newest), dim=1), use_cache=False)
    assert torch.equal(found, whole[:, -1:])


def test_draws_depend_on_what_came_before_and_not_on_what_comes_after():
    first = torch.arange(20)[None]
    positions = torch.arange(20)[None]
    keys = draw_keys(positions, text_opening(first, positions, None, None))
    for position in (0, 4, OPENING_TOKENS - 1, OPENING_TOKENS, 19):
        changed = first.clone()
        changed[0, position] += 50
        other = draw_keys(positions, text_opening(changed, positions, None, None))
        differs = (keys != other)[0]
        assert not differs[:position].any()
        assert differs[position:].all() == (position < OPENING_TOKENS)
        assert differs.any() == (position < OPENING_TOKENS)


def test_draws_are_uniform_and_independent_over_texts_and_recursions():
    ids = torch.randint(0, 97, (2000, 24), generator=torch.Generator().manual_seed(0))
    positions = torch.arange(24).expand(2000, 24)
    keys = draw_keys(positions, text_opening(ids, positions, None, None))
    drawn = torch.stack([hash_uniform(keys, index, 5) for index in range(3)])  # (3, N, S)
    at_20 = drawn[:, :, 20]
    assert at_20.mean(dim=1).tolist() == pytest.approx([0.5] * 3, abs=0.03)
    shares = torch.histc(at_20.flatten().float(), 10, 0, 1) / at_20.numel()
    assert shares.tolist() == pytest.approx([0.1] * 10, abs=0.02)
    correlation = torch.corrcoef(torch.cat((at_20, drawn[:, :, 21])))
    assert (correlation - torch.eye(6)).abs().max() < 0.08
    assert select_random(keys, 1, 0.25, 5).double().mean().item() == pytest.approx(0.25, abs=0.01)


def test_a_trace_says_by_what_was_drawn_and_old_ones_by_position_alone():
    config = tiny_config()
    assert RULE.describe(config) == {
        "name": "random",
        "gate": "learned",
        "seed": 3,
        "draws": "text",
    }
    old = RoutingRule.parse("random_by_position", seed=3)
    assert old.describe(config) == {"name": "random", "gate": "learned", "seed": 3}
    assert RoutingRule.parse("random", seed=3) == RULE
