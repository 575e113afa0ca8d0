"""What is published of a checkpoint's predictions: complete, plain data, and equal to what one command computes."""

import json
import math

import pytest

from mor_core import RoutingRule
from mor_core.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from mor_core.checkpoints.tokenizer import DOCUMENT_START
from mor_core.evaluation import checkpoint_evaluation
from mor_core.evaluation.evaluation import evaluate
from tests.conftest import STORY
from tests.models import UNROUTED, tiny_model

DOCUMENTS = [STORY, STORY[40:200], "The rabbit slept.", STORY[100:], "A pig ran home."]


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "valid.txt"
    path.write_text("".join(f"{document}\n{DOCUMENT_START}\n" for document in DOCUMENTS))
    return path


@pytest.fixture(scope="module")
def written(tiny_checkpoint, text):
    loaded = load_checkpoint(tiny_checkpoint)
    before = sorted(path.name for path in tiny_checkpoint.iterdir())
    said = []
    checkpoint_evaluation.write_evaluation(loaded, text, said.append)
    path = tiny_checkpoint / "evaluation.json"
    found = json.loads(path.read_text())
    path.unlink()
    assert sorted(path.name for path in tiny_checkpoint.iterdir()) == before
    return found


def test_intervals_hold_their_figures(written):
    for result in written["results"]:
        for figure, interval in (
            ("nll_nats_per_token", "nll_interval"),
            ("bits_per_byte", "bits_per_byte_interval"),
            ("perplexity", "perplexity_interval"),
        ):
            low, high = result[interval]
            assert low < result[figure] < high


def test_differences_are_those_of_the_figures(written):
    own, *others = written["results"]
    assert "more_nats_than_own_rule" not in own
    for result in others:
        gap = result["nll_nats_per_token"] - own["nll_nats_per_token"]
        assert result["more_nats_than_own_rule"]["nll_nats_per_token"] == pytest.approx(gap)
        low, high = result["more_nats_than_own_rule"]["interval"]
        assert low <= gap <= high


def test_a_sweep_at_zero_is_the_own_rule_on_its_documents(written, tiny_loaded):
    points = {point["threshold_logit"]: point for point in written["threshold_sweep"]}
    own = evaluate(
        tiny_loaded, DOCUMENTS[:: checkpoint_evaluation.SWEEP_EVERY], RoutingRule.causal()
    )
    assert points[0.0]["nll"] == pytest.approx(own.nll_nats_per_token, abs=1e-6)
    assert points[0.0]["mean_depth"] == pytest.approx(own.mean_recursion_depth)
    assert points[0.0]["num_documents"] == 2


def test_a_lower_threshold_never_sends_fewer_tokens_deep(written):
    depths = [point["mean_depth"] for point in written["threshold_sweep"]]
    flops = [point["active_flops_per_token"] for point in written["threshold_sweep"]]
    assert depths[0] > depths[-1]
    assert flops[0] == max(flops)
    assert flops[-1] == min(flops)


def test_router_and_depths_agree_with_the_own_rule(written):
    own = written["results"][0]
    total = sum(own["depth_histogram"])
    shares = [count / total for count in own["depth_histogram"]]
    assert written["router"]["shares_per_depth"] == pytest.approx(shares)
    assert written["depths"]["num_tokens"] == total
    assert len(written["router"]["entropy"]) == 3
    assert written["router"]["load_violation"] is None
    top_k = written["results"][1]
    assert written["router"]["topk_threshold_agreement"] == top_k["threshold_agreement"]
    assert 0 <= written["router"]["dead_token_ratio"] <= 1


def test_nothing_is_no_number(written):
    json.dumps(written, allow_nan=False)
    assert set(written["tasks"]) == {"last_word", "continuation"}
    assert all(math.isfinite(depth) for depth in written["depth_of_token_types"].values())


def test_a_model_without_a_router_has_no_sweep(tiny_tokenizer, tmp_path, text):
    model = tiny_model(vocab_size=300, **UNROUTED["vanilla"])
    save_checkpoint(tmp_path / "plain", model, tiny_tokenizer)
    loaded = load_checkpoint(tmp_path / "plain")
    checkpoint_evaluation.write_evaluation(loaded, text, lambda line: None)
    found = json.loads((loaded.info.path / "evaluation.json").read_text())
    assert len(found["results"]) == 1
    assert not {"threshold_sweep", "router", "depths"} & set(found)
