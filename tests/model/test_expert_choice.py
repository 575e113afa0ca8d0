"""The recursion: gathered equals masked, the past ignores the future, inactive tokens stay as they are."""

import pytest
import torch

from mor_core import RoutingRule
from tests.loops import thinned
from tests.models import ROUTED, RULES, UPDATED, pairs, tiny_model, token_ids

FAMILY = ROUTED | UPDATED


@pytest.mark.parametrize(("fields", "rule"), pairs(FAMILY, RULES, with_draws=False))
def test_gathered_path_equals_masked_path(fields, rule):
    model = tiny_model(**fields)
    ids = token_ids(3, 20)
    with torch.no_grad():
        fast = model(ids, routing=rule)
        slow = model(ids, routing=rule, gathered=False)
    assert torch.equal(fast.recursion_trace.depth(), slow.recursion_trace.depth())
    torch.testing.assert_close(fast.logits, slow.logits, atol=1e-5, rtol=0)
    assert fast.past_key_values.num_entries() == slow.past_key_values.num_entries()


JUDGED = {name: fields for name, fields in FAMILY.items() if "router_control" not in fields}


@pytest.mark.parametrize("fields", JUDGED.values(), ids=JUDGED)
def test_gathered_gradients_equal_masked_gradients(fields):
    model = tiny_model(**fields).train()
    ids = token_ids(2, 16)
    gradients = []
    for gathered in (True, False):
        model.zero_grad()
        model(ids, labels=ids, gathered=gathered).loss.backward()
        gradients.append(
            {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        )
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("seed", thinned(range(10), every=4))
def test_causal_rule_ignores_the_future(seed):
    model = tiny_model(seed)
    ids = token_ids(1, 24, seed)
    changed = ids.clone()
    changed[0, 17:] = token_ids(1, 7, seed + 100)[0]
    with torch.no_grad():
        before, after = model(ids), model(changed)
    torch.testing.assert_close(before.logits[:, :17], after.logits[:, :17], atol=1e-5, rtol=0)
    assert torch.equal(
        before.recursion_trace.depth()[:, :17], after.recursion_trace.depth()[:, :17]
    )


def test_top_k_sees_the_future():
    """The training rule is not causal; if this ever fails, the two rules have become one."""
    leaks = 0
    for seed in range(10):
        model = tiny_model(seed)
        ids = token_ids(1, 24, seed)
        changed = ids.clone()
        changed[0, -1] = ids[0, -1] % 90 + 1
        with torch.no_grad():
            before = model(ids, routing=RoutingRule.top_k()).logits[:, :-1]
            after = model(changed, routing=RoutingRule.top_k()).logits[:, :-1]
        leaks += not torch.allclose(before, after, atol=1e-4)
    assert leaks > 0


CAPS = pairs(
    {
        name: ROUTED[name]
        for name in ("default", "aux router", "random selection", "token choice", "shared keys")
    },
    {name: RULES[name] for name in ("causal", "top_k", "random")},
    with_draws=False,
)


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize(("fields", "rule"), CAPS)
def test_a_cap_cuts_depths_and_leaves_the_rest_as_it_was(fields, rule, depth):
    model, ids = tiny_model(**fields), token_ids(2, 40)
    with torch.no_grad():
        free = model(ids, routing=rule).recursion_trace.depth()
        out = model(ids, routing=rule.capped(depth))
    assert free.max() == 3
    assert torch.equal(out.recursion_trace.depth(), free.clamp(max=depth))
    entries = out.past_key_values.num_entries()
    if model.config.kv_strategy == "recursion_wise":
        slots = [call for call in model.model.schedule if call.stage == "shared"]
        assert {entries[call.cache_slot] for call in slots if call.recursion_idx >= depth} == {0}
        assert all(entries[call.cache_slot] for call in slots if call.recursion_idx < depth)


def test_capacity_is_respected_by_top_k():
    with torch.no_grad():
        out = tiny_model()(token_ids(2, 24), routing=RoutingRule.top_k())
    assert out.recursion_trace.active_counts() == [[24, 16, 8]] * 2


def test_active_sets_nest_and_unscored_tokens_have_no_logit():
    with torch.no_grad():
        trace = tiny_model()(token_ids(2, 40)).recursion_trace
    active, logits = trace.active(), trace.router_logits()
    assert active[..., 0].all()
    assert not (active[..., 1] & ~active[..., 0]).any()
    assert not (active[..., 2] & ~active[..., 1]).any()
    assert torch.equal(logits[..., 1].isnan(), ~active[..., 0])
    assert torch.equal(logits[..., 2].isnan(), ~active[..., 1])
    assert sorted(set(trace.depth().flatten().tolist())) == [1, 2, 3]


def test_fixed_depth_is_what_it_says():
    with torch.no_grad():
        for depth in (1, 2, 3):
            trace = tiny_model()(token_ids(1, 9), routing=RoutingRule.fixed(depth)).recursion_trace
            assert trace.depth().tolist() == [[depth] * 9]


def test_inactive_token_is_unchanged_bit_for_bit():
    """Between recursions a token that is left out keeps its state exactly."""
    model = tiny_model()
    states = []
    model.model.coda[0].register_forward_pre_hook(lambda _, args: states.append(args[0]))
    ids = token_ids(1, 30)
    with torch.no_grad():
        depth = model(ids).recursion_trace.depth()
        model(ids, routing=RoutingRule.causal([0.5, 0.999999, 0.5]))
    learned, stopped = states
    shallow = depth[0] == 1
    assert 0 < shallow.sum() < 30
    assert torch.equal(learned[0, shallow], stopped[0, shallow])
    assert not torch.equal(learned[0, ~shallow], stopped[0, ~shallow])


def test_training_uses_top_k_and_evaluation_the_causal_rule():
    model = tiny_model()
    ids = token_ids(1, 24)
    with torch.no_grad():
        evaluated = model(ids).recursion_trace.depth()
        by_name = model(ids, routing=RoutingRule.causal()).recursion_trace.depth()
        trained = model.train()(ids).recursion_trace.active_counts()
    assert torch.equal(evaluated, by_name)
    assert trained == [[24, 16, 8]]


def test_routing_accuracy_counts_agreement_of_threshold_and_selection():
    with torch.no_grad():
        trace = tiny_model()(token_ids(1, 24), routing=RoutingRule.top_k()).recursion_trace
    for step, found in zip(trace.steps, trace.routing_accuracy(), strict=True):
        agree = (step.causal_logits.sigmoid() >= 0.5) == step.chosen
        assert found == pytest.approx(agree.double().mean().item())


def test_a_trace_holds_the_logits_that_decided():
    model, ids = tiny_model(router_supervision="aux_router"), token_ids(2, 24)
    with torch.no_grad():
        traces = {
            name: model(ids, routing=RoutingRule.parse(name)).recursion_trace
            for name in ("aux", "top_k")
        }
    active, scores = traces["aux"].active(), traces["aux"].router_scores()
    seen = ~scores.isnan()
    assert torch.equal((scores >= 0.5)[..., 1:][seen[..., 1:]], active[..., 1:][seen[..., 1:]])
    main, by_aux = traces["top_k"].steps[0], traces["aux"].steps[0]
    torch.testing.assert_close(main.causal_logits, by_aux.deciding_logits)
    assert (main.deciding_logits - by_aux.deciding_logits).abs().max() > 1e-3
    agreed = ((main.causal_logits >= 0) == main.chosen).float().mean().item()
    assert traces["top_k"].routing_accuracy()[0] == pytest.approx(agreed)


def test_aux_router_learns_apart_from_the_model():
    model = tiny_model(router_supervision="aux_router").train()
    ids = token_ids(2, 16)
    model(ids, labels=ids).loss.backward()
    with_aux = model.model.prelude[0].mlp.up_proj.weight.grad.clone()
    assert model.model.routers[1].aux_network.weight.grad.abs().max() > 0
    for router in model.model.routers:
        torch.nn.init.normal_(router.aux_network.weight, std=5.0)
    model.zero_grad()
    model(ids, labels=ids).loss.backward()
    torch.testing.assert_close(model.model.prelude[0].mlp.up_proj.weight.grad, with_aux)
