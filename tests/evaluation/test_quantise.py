"""Eight-bit weights: what shrinks, what stays, and that the comparison is of the two models named."""

import itertools
import json

import pytest
import torch

from mor_core import RoutingRule
from mor_core.evaluation.evaluation import evaluate
from mor_core.evaluation.quantise import compare, quantise, weight_bytes
from tests.conftest import STORY
from tests.models import token_ids

torchao = pytest.importorskip("torchao", reason="torchao is an optional extra")


def test_linear_layers_become_a_byte_a_weight_and_the_model_stays(tiny_loaded):
    before = {name: tensor.clone() for name, tensor in tiny_loaded.model.state_dict().items()}
    small = quantise(tiny_loaded)
    after = tiny_loaded.model.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    floats = sum(
        p.numel()
        for name, p in tiny_loaded.model.named_parameters()
        if "embed" in name or "norm" in name
    )
    linear = [m for m in tiny_loaded.model.model.modules() if isinstance(m, torch.nn.Linear)]
    weights = sum(module.weight.numel() for module in linear)
    scales = sum(module.weight.shape[0] for module in linear)
    assert weight_bytes(tiny_loaded.model) == 4 * (floats + weights)
    assert weight_bytes(small.model) == 4 * floats + weights + 5 * scales  # scale and zero point
    assert small.model.lm_head.weight is small.model.model.embed_tokens.weight
    ids = token_ids(1, 20)
    with torch.no_grad():
        difference = (small.model(ids).logits - tiny_loaded.model(ids).logits).abs().max()
    assert 0 < difference < 0.5


def test_comparison_measures_both_on_the_same_text(tiny_loaded):
    documents = [STORY, "The end."]
    small = quantise(tiny_loaded)
    figures = compare(tiny_loaded, small, documents)
    results = [evaluate(loaded, documents, RoutingRule.causal()) for loaded in (tiny_loaded, small)]
    assert figures["nll_nats_per_token"]["float"] == pytest.approx(results[0].nll_nats_per_token)
    assert figures["nll_nats_per_token"]["int8"] == pytest.approx(results[1].nll_nats_per_token)
    depths = [list(itertools.chain.from_iterable(result.token_depths)) for result in results]
    same = sum(mine == theirs for mine, theirs in zip(*depths, strict=True))
    assert figures["unchanged_depth_share"] == same / len(depths[0])
    assert figures["num_tokens"] == sum(results[0].num_tokens)
    assert compare(tiny_loaded, tiny_loaded, documents)["unchanged_depth_share"] == 1


def test_command_prints_what_changed(mor, tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(f"{STORY}\n<|endoftext|>\nThe end.\n")
    status, out, err = mor("quantise", "--text", path, "--json")
    assert status == 0, err
    figures = json.loads(out)
    assert figures["weight_bytes"]["int8"] < figures["weight_bytes"]["float"]
    assert "depth unchanged" in mor("quantise", "--text", path)[1]
