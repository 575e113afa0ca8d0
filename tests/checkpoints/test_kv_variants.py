"""The same weights under the other KV strategy: what it computes and keeps, and that it is called an experiment."""

import pytest
import torch

from mor_core import MoRForCausalLM
from mor_core.generation.generation import analyse_text, collect_trace
from mor_core.checkpoints.kv_variants import with_kv_strategy
from mor_core.model.routing_rules import RoutingRule


def test_variant_computes_what_a_model_of_that_strategy_with_these_weights_computes(tiny_loaded):
    trained = tiny_loaded.model
    expected = MoRForCausalLM(trained.config.replaced(kv_strategy="shared")).eval()
    expected.load_state_dict(trained.state_dict())
    ids = torch.arange(1, 13)[None]
    with torch.no_grad():
        logits = [
            model(ids).logits
            for model in (trained, with_kv_strategy(tiny_loaded, "shared").model, expected)
        ]
    assert torch.equal(logits[1], logits[2])
    assert not torch.equal(logits[0], logits[1])


def test_weights_are_shared_and_the_checkpoint_stays_as_it_is(tiny_loaded):
    variant = with_kv_strategy(tiny_loaded, "shared")
    ours, theirs = (dict(x.model.named_parameters()) for x in (tiny_loaded, variant))
    assert all(theirs[name].data_ptr() == tensor.data_ptr() for name, tensor in ours.items())
    assert tiny_loaded.model.config.kv_strategy == "recursion_wise"
    assert with_kv_strategy(tiny_loaded, "recursion_wise") is tiny_loaded


def test_run_says_that_it_is_an_experiment_and_keeps_the_shared_keys(tiny_loaded):
    variant = with_kv_strategy(tiny_loaded, "shared")
    trace = collect_trace(analyse_text(variant, "Once upon a time", routing=RoutingRule.fixed(3)))
    assert trace.header.kv_strategy == trace.header.config["kv_strategy"] == "shared"
    assert (
        "kv_strategy shared, where the model was trained with recursion_wise" in trace.header.note
    )
    own = collect_trace(analyse_text(tiny_loaded, "Once upon a time", routing=RoutingRule.fixed(3)))
    assert own.header.note == ""
    assert sum(trace.steps[-1].cache_bytes) < sum(own.steps[-1].cache_bytes)


def test_unknown_strategy_is_refused(tiny_loaded):
    with pytest.raises(ValueError, match="kv_strategy"):
        with_kv_strategy(tiny_loaded, "none")
