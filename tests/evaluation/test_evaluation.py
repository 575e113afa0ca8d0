"""Evaluation: the figures equal a slow computation, one window at a time."""

import math

import pytest
import torch

from mor_core import RoutingRule
from mor_core.checkpoints.tokenizer import encode_text
from mor_core.evaluation.evaluation import evaluate
from mor_core.model.accounting import active_flops
from mor_core.traces.windows import split_windows
from tests.conftest import STORY

DOCUMENTS = [STORY, "The rabbit slept.", STORY[40:200] + " é漢"]


def by_hand(loaded, documents, rule):
    """Sum of NLL, depths and FLOPs, each window through the model alone."""
    nll, depths, flops = 0.0, [], 0
    for text in documents:
        ids = [0, *encode_text(loaded.tokenizer, text)]
        for window in split_windows(len(ids), loaded.model.config.max_position_embeddings):
            part = ids[window.start : window.end]
            with torch.no_grad():
                out = loaded.model(torch.tensor([part]), routing=rule)
            log_probs = out.logits[0].double().log_softmax(-1)
            flops += active_flops(
                loaded.model.config, len(part), out.recursion_trace.active_counts()[0]
            )
            for place in range(max(window.first_new, 1), window.end):
                inside = place - window.start
                nll -= log_probs[inside - 1, ids[place]].item()
                depths.append(out.recursion_trace.depth()[0, inside].item())
    return nll, depths, flops


@pytest.mark.parametrize("rule", ["causal", "top_k", "fixed:2", "random"])
def test_figures_equal_a_slow_computation(tiny_loaded, rule):
    rule = RoutingRule.parse(rule)
    found = evaluate(tiny_loaded, DOCUMENTS, rule)
    figures = found.as_dict()
    nll, depths, flops = by_hand(tiny_loaded, DOCUMENTS, rule)
    num_bytes = sum(len(text.encode()) for text in DOCUMENTS)
    assert figures["num_tokens"] == len(depths)
    assert figures["nll_nats_per_token"] == pytest.approx(nll / len(depths), abs=1e-5)
    assert figures["bits_per_byte"] == pytest.approx(nll / num_bytes / math.log(2), abs=1e-5)
    assert figures["perplexity"] == pytest.approx(math.exp(nll / len(depths)), rel=1e-4)
    assert figures["mean_recursion_depth"] == pytest.approx(sum(depths) / len(depths))
    assert figures["depth_histogram"] == [depths.count(depth) for depth in (1, 2, 3)]
    assert [depth for document in found.token_depths for depth in document] == depths
    assert found.active_flops == flops
    assert figures["active_flops_per_token"] == flops / figures["num_positions"]


def test_documents_do_not_influence_each_other(tiny_loaded):
    rule = RoutingRule.top_k()
    together = evaluate(tiny_loaded, DOCUMENTS, rule).nll_nats
    alone = [evaluate(tiny_loaded, [text], rule).nll_nats[0] for text in DOCUMENTS]
    assert together == pytest.approx(alone, abs=1e-4)


def test_fixed_depth_is_counted_as_such(tiny_loaded):
    figures = evaluate(tiny_loaded, DOCUMENTS, RoutingRule.fixed(1)).as_dict()
    assert figures["depth_histogram"] == [figures["num_tokens"], 0, 0]
    full = evaluate(tiny_loaded, DOCUMENTS, RoutingRule.fixed(3)).as_dict()
    assert full["active_flops_per_token"] == full["full_depth_flops_per_token"]
    assert figures["active_flops_per_token"] < full["active_flops_per_token"]


def test_agreement_of_selection_and_threshold_is_reported_for_top_k_only(tiny_loaded):
    shares = evaluate(tiny_loaded, DOCUMENTS, RoutingRule.top_k()).as_dict()["threshold_agreement"]
    assert len(shares) == 3
    assert all(0 <= share <= 1 for share in shares)
    assert (
        "threshold_agreement"
        not in evaluate(tiny_loaded, DOCUMENTS, RoutingRule.causal()).as_dict()
    )


def test_nothing_to_evaluate_is_refused(tiny_loaded):
    with pytest.raises(ValueError, match="at least one text"):
        evaluate(tiny_loaded, [], RoutingRule.causal())
