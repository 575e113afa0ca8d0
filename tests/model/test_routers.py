"""Which tokens enter a recursion: hand-computed selections; how training rule and inference rule differ."""

import math

import pytest
import torch

from mor_core import MoRConfig, RoutingRule
from mor_core.model.expert_choice import ExpertChoiceRouter, entry_thresholds, select_top_k
from mor_core.model.random_draws import draw_keys, select_random
from mor_core.model.token_choice import TokenChoiceRouter
from tests.models import TOKEN_CHOICE, tiny_config


def test_top_k_takes_the_best_and_keeps_their_order():
    indices, valid = select_top_k(torch.tensor([[0.1, 0.9, 0.3, 0.8]]), None, 2)
    assert indices.tolist() == [[1, 3]]
    assert valid is None


def test_top_k_never_takes_padding_and_follows_each_rows_length():
    scores = torch.tensor([[0.9, 0.1, 0.5, 0.4], [0.2, 0.3, 0.1, 0.4]])
    real = torch.tensor([[False, False, True, True], [True, True, True, True]])
    indices, counted = select_top_k(scores, real, torch.tensor([1, 2]))
    chosen = [sorted(row[keep].tolist()) for row, keep in zip(indices, counted, strict=True)]
    assert chosen == [[2], [1, 3]]


def test_causal_rule_scores_each_token_alone():
    logits, positions = torch.tensor([[-0.1, 0.0, 2.0]]), torch.arange(3)[None]
    config = tiny_config()

    def chosen(score):
        least = entry_thresholds(config, RoutingRule.causal(score), 1, positions, positions)
        return (logits >= least).tolist()

    assert chosen(0.5) == [[False, True, True]]
    assert chosen(1 / (1 + math.exp(-1.0))) == [[False, False, True]]


def test_a_threshold_on_scores_is_the_same_on_logits():
    rule = RoutingRule.causal([0.5, 0.9, 0.1])
    for index, threshold in enumerate((0.5, 0.9, 0.1)):
        assert 1 / (1 + math.exp(-rule.threshold_logit(index))) == pytest.approx(threshold)


def test_random_membership_has_the_given_share_and_repeats():
    positions = torch.arange(20_000)[None]
    chosen = select_random(draw_keys(positions, None), 1, 2 / 3, seed=7)
    share = chosen.double().mean().item()
    assert abs(share - 2 / 3) < 4 * math.sqrt(2 / 9 / 20_000)
    assert torch.equal(
        chosen[:, 500:600], select_random(draw_keys(positions[:, 500:600], None), 1, 2 / 3, seed=7)
    )
    assert not torch.equal(chosen, select_random(draw_keys(positions, None), 2, 2 / 3, seed=7))
    assert not torch.equal(chosen, select_random(draw_keys(positions, None), 1, 2 / 3, seed=8))


@pytest.mark.parametrize(
    ("activation", "gates"),
    [("sigmoid", [0.05, 0.088]), ("tanh", [0.0, 0.0964]), ("none", [0.0, 2.0])],
)
def test_gate_is_alpha_times_the_activation(activation, gates):
    router = ExpertChoiceRouter(MoRConfig(router_activation=activation))
    logits = torch.tensor([[0.0, 2.0]])
    torch.testing.assert_close(
        router.gate(logits, "learned"), torch.tensor([gates]), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize(
    "router",
    [
        *(
            ExpertChoiceRouter(MoRConfig(router_activation=name))
            for name in ("sigmoid", "tanh", "none")
        ),
        *(
            TokenChoiceRouter(MoRConfig(**TOKEN_CHOICE | {"router_activation": name}))
            for name in ("softmax", "sigmoid")
        ),
    ],
    ids=lambda router: f"{type(router).__name__} {router.activation}",
)
@pytest.mark.parametrize("logits", [[0.3, -2.0, 5.0], [-800.0, 800.0, 0.0]], ids=str)
def test_one_tokens_scores_are_those_of_a_tensor(router, logits):
    expected = router.scores(torch.tensor(logits)).tolist()
    assert router.token_scores(logits) == pytest.approx(expected, rel=1e-5, abs=1e-12)


def test_open_gate_is_alpha_whatever_the_score():
    router = ExpertChoiceRouter(MoRConfig(router_alpha=0.2))
    assert router.gate(torch.tensor([[-9.0, 9.0]]), "open").tolist() == [[pytest.approx(0.2)] * 2]


@pytest.mark.parametrize("text", ["causal", "aux", "top_k", "random", "fixed:2"])
def test_rules_are_read_as_they_are_written(text):
    rule = RoutingRule.parse(text)
    assert rule.describe(MoRConfig())["name"] == text.partition(":")[0]
    assert rule.depth == (2 if text == "fixed:2" else None)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({}, "causal"),
        ({"router_supervision": "aux_router"}, "aux"),
        (TOKEN_CHOICE, "argmax"),
        ({"router_control": "random_selection"}, "random"),
        ({"router_type": "none"}, "none"),
    ],
)
def test_a_trace_names_what_the_causal_rule_does_on_its_model(fields, name):
    described = RoutingRule.causal().describe(MoRConfig(**fields))
    assert described["name"] == name
    assert ("thresholds" in described) == (name in ("causal", "aux"))


def test_forced_depths_are_read_from_a_file(tmp_path):
    file = tmp_path / "depths.json"
    file.write_text("[1, null, 3]")
    rule = RoutingRule.parse(f"forced:{file}", gate="open")
    assert rule == RoutingRule.forced([1, None, 3], "open")
    assert rule.describe(MoRConfig())["depths"] == [1, None, 3]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{}", "got dict"),
        ("[]", "got list"),
        ("[1, 2.0]", "got 2.0 at position 1"),
        ("[true]", "got True at position 0"),
        ("[1, 0]", "at least 1, got 0 at position 1"),
        ("nonsense", "got no JSON"),
        (None, "cannot be read"),
    ],
)
def test_a_file_of_other_things_is_refused(tmp_path, text, reason):
    file = tmp_path / "depths.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ValueError, match=reason):
        RoutingRule.parse(f"forced:{file}")


@pytest.mark.parametrize(
    "text", ["", "topk", "fixed", "fixed:", "fixed:two", "fixed:-1", "causal:1", "forced:"]
)
def test_unknown_rule_is_refused_with_the_known_ones(text):
    with pytest.raises(ValueError, match="routing must be causal, aux, top_k, fixed:D"):
        RoutingRule.parse(text)


@pytest.mark.parametrize("threshold", [0.0, 1.0, -3.0, float("nan")])
def test_threshold_outside_the_open_interval_is_refused(threshold):
    with pytest.raises(ValueError, match="threshold must lie between 0 and 1"):
        RoutingRule.causal(threshold)


@pytest.mark.parametrize(
    ("rule", "fields", "reason"),
    [
        (RoutingRule.fixed(4), {}, "at most the model's num_recursions=3, got 4"),
        (RoutingRule.forced([None, 4]), {}, "at most the model's num_recursions=3, got 4"),
        (RoutingRule.causal([0.5, 0.5]), {}, "num_recursions=3 of them, got 2"),
        (RoutingRule.top_k([1.0, 0.5]), {}, "num_recursions=3 entries, got 2"),
        (RoutingRule.top_k(), TOKEN_CHOICE, "top_k belongs to expert-choice"),
        (RoutingRule.aux(), {}, "needs an auxiliary router"),
        (RoutingRule.fixed(2), {"router_type": "none"}, "needs a router"),
        (RoutingRule.random(), {"router_type": "none"}, "needs a router"),
        (RoutingRule.causal().capped(1), {"router_type": "none"}, "max_depth needs a router"),
        (RoutingRule.causal().capped(4), {}, "max_depth must be at most the model's .*=3, got 4"),
        (RoutingRule.random().capped(4), TOKEN_CHOICE, "max_depth must be at most .*=3, got 4"),
    ],
)
def test_rule_that_does_not_fit_the_model_is_refused(rule, fields, reason):
    with pytest.raises(ValueError, match=reason):
        rule.check(MoRConfig(**fields))


@pytest.mark.parametrize(
    ("rule", "depth", "reason"),
    [
        (RoutingRule.causal(), 0, "max_depth must be at least 1, got 0; leave it out"),
        (RoutingRule.fixed(2), 1, "left out with routing fixed, .* got 1; give smaller depths"),
        (RoutingRule.forced([3]), 2, "left out with routing forced, .* got 2; give smaller depths"),
    ],
)
def test_cap_that_makes_no_sense_is_refused(rule, depth, reason):
    with pytest.raises(ValueError, match=reason):
        rule.capped(depth)


def test_a_cap_is_written_into_a_trace_and_can_be_taken_off():
    capped = RoutingRule.causal(0.3).capped(2)
    assert capped.describe(MoRConfig())["max_depth"] == 2
    assert capped.describe(MoRConfig(**TOKEN_CHOICE))["max_depth"] == 2
    assert capped.capped(None) == RoutingRule.causal(0.3)
    assert "max_depth" not in RoutingRule.causal().describe(MoRConfig())


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_seed_outside_64_bits_is_refused(seed):
    with pytest.raises(ValueError, match=f"seed must lie between 0 and .*, got {seed}"):
        RoutingRule.random(seed)


def test_largest_seed_still_draws():
    positions = torch.arange(5000)[None]
    share = select_random(draw_keys(positions, None), 1, 0.5, 2**63 - 1).double().mean().item()
    assert share == pytest.approx(0.5, abs=0.03)
