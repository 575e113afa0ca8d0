"""Early exits of a run: the last is the prediction that the run itself made, and no total of the run counts them."""

import copy
import json

import pytest

from mor_core import RoutingRule
from mor_core.generation.generation import analyse_text, collect_trace, generate_with_trace
from mor_core.generation.trace_lens import NUM_PREDICTIONS, LensError, add_lens
from mor_core.traces.trace_file import (
    TraceError,
    load_trace,
    pack_trace,
    trace_from_dict,
    trace_to_dict,
)

LONG = "the old rabbit ran home and " * 6  # more than one window of the small model


def generated(loaded, rule=None):
    rule = rule or RoutingRule.causal()
    return collect_trace(
        generate_with_trace(loaded, "Once upon a time", max_new_tokens=14, seed=3, routing=rule)
    )


def assert_last_exit_predicts_as_the_run_did(trace):
    checked = 0
    for token, following in zip(trace.tokens, trace.tokens[1:], strict=False):
        if any(following.position == start for _, start in trace.header.windows[:-1]):
            continue  # the next window has seen another past
        own = {c.token_id: c.probability for c in following.alternatives}
        for choice in token.lens[-1]:
            assert own[choice.token_id] == pytest.approx(choice.probability, abs=1e-5)
            checked += 1
    assert checked > 10


@pytest.mark.parametrize(
    "rule",
    [
        RoutingRule.causal(0.4),
        RoutingRule.causal(0.4).capped(2),
        RoutingRule.random(5),
        RoutingRule.fixed(2),
    ],
    ids=["causal", "capped", "random", "fixed"],
)
def test_the_last_exit_is_the_prediction_of_a_generation(tiny_loaded, rule):
    trace = generated(tiny_loaded, rule)
    add_lens(tiny_loaded, trace, rule)
    assert load_trace(pack_trace(trace)).header.routing.get("max_depth") == rule.max_depth
    for token in trace.tokens[:-1]:
        assert len(token.lens) == max(1, token.recursion_depth)
        assert all(len(choices) == NUM_PREDICTIONS for choices in token.lens)
        assert 1 <= token.prediction_depth <= token.recursion_depth
    assert trace.tokens[-1].lens == [], "the newest token has not been through the model"
    assert trace.tokens[-1].prediction_depth is None
    assert_last_exit_predicts_as_the_run_did(trace)


@pytest.mark.parametrize("rule", [RoutingRule.causal(), RoutingRule.top_k()], ids=lambda r: r.name)
def test_the_last_exit_is_the_prediction_of_a_reading_in_windows(tiny_loaded, rule):
    trace = collect_trace(analyse_text(tiny_loaded, LONG, routing=rule))
    assert len(trace.header.windows) > 1
    add_lens(tiny_loaded, trace, rule)
    assert all(token.lens for token in trace.tokens)
    assert_last_exit_predicts_as_the_run_did(trace)


def test_nothing_but_the_lens_changes(tiny_loaded):
    trace = generated(tiny_loaded)
    before = trace_to_dict(copy.deepcopy(trace))
    add_lens(tiny_loaded, trace, RoutingRule.causal())
    after = trace_to_dict(trace)
    assert any(token["lens"] for token in after["tokens"])
    for data in (before, after):
        data["header"].pop("lens")
        for token in data["tokens"]:
            token.pop("lens")
    assert before == after


def test_a_rule_that_sees_the_future_has_no_one_state_to_look_at(tiny_loaded):
    trace = generated(tiny_loaded, RoutingRule.top_k())
    with pytest.raises(LensError, match="sees later tokens"):
        add_lens(tiny_loaded, trace, RoutingRule.top_k())
    assert trace.header.lens == {}


def test_another_rule_than_the_runs_is_noticed(tiny_loaded):
    trace = collect_trace(analyse_text(tiny_loaded, "the old oak tree was there"))
    with pytest.raises(LensError, match="recursions in the run"):
        add_lens(tiny_loaded, trace, RoutingRule.fixed(1 if trace.mean_recursion_depth > 1 else 2))
    assert not any(token.lens for token in trace.tokens)


def test_a_lens_is_saved_and_loaded_and_a_file_without_one_loads(tiny_loaded):
    trace = generated(tiny_loaded)
    older = trace_to_dict(copy.deepcopy(trace))
    older["header"].pop("lens")
    for token in older["tokens"]:
        token.pop("lens")
    assert trace_from_dict(json.loads(json.dumps(older))) == trace
    add_lens(tiny_loaded, trace, RoutingRule.causal())
    assert load_trace(pack_trace(trace)) == trace


@pytest.mark.parametrize(
    ("lens", "reason"),
    [
        ("x", r"tokens\[1\].lens must be empty or"),
        ([[]], r"tokens\[1\].lens must be empty or"),
        ([[{"token_id": 1, "text": "a", "probability": 0.5}]] * 9, r"tokens\[1\].lens must be"),
        ([[{"token_id": -1, "text": "a", "probability": 0.5}]], r"tokens\[1\].lens must"),
    ],
)
def test_a_wrong_lens_is_named(tiny_loaded, lens, reason):
    trace = generated(tiny_loaded)
    add_lens(tiny_loaded, trace, RoutingRule.causal())
    data = json.loads(json.dumps(trace_to_dict(trace)))
    data["tokens"][1]["lens"] = lens
    with pytest.raises(TraceError, match=reason):
        trace_from_dict(data)


def test_a_lens_of_a_later_version_is_refused(tiny_loaded):
    trace = generated(tiny_loaded)
    add_lens(tiny_loaded, trace, RoutingRule.causal())
    trace.header.lens["version"] = 2
    with pytest.raises(TraceError, match=r"header.lens.version must be 1.*got 2"):
        load_trace(pack_trace(trace))
