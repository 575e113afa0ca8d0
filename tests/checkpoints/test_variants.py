"""More recursions than trained, and the other KV strategy: what they compute, share and are called."""

import pytest
import torch

from mor_core import MoRForCausalLM, RoutingRule, analyse_text, collect_trace, generate_with_trace
from mor_core.checkpoints.variants import deeper_config, with_kv_strategy, with_recursions
from tests.models import TOKEN_CHOICE, tiny_config, tiny_model, token_ids


def deepen(loaded, model, count):
    import dataclasses

    return with_recursions(dataclasses.replace(loaded, model=model), count).model


@pytest.mark.parametrize(
    "fields", [{}, {"router_supervision": "aux_router"}, {"recursion_specific": ["attention"]}]
)
def test_what_stops_within_the_trained_recursions_is_unchanged(tiny_loaded, fields):
    model = tiny_model(2, **fields)
    deeper = deepen(tiny_loaded, model, 5)
    ids = token_ids(1, 40)
    with torch.no_grad():
        for depth in (1, 3):
            rule = RoutingRule.fixed(depth)
            assert torch.equal(deeper(ids, routing=rule).logits, model(ids, routing=rule).logits)
        before, after = model(ids).recursion_trace, deeper(ids).recursion_trace
    assert torch.equal(before.depth(), after.depth().clamp(max=3))
    assert after.depth().max() > 3


def test_the_new_recursions_ask_the_last_router_and_share_its_weights(tiny_loaded):
    model = tiny_model()
    deeper = deepen(tiny_loaded, model, 4)
    last = model.model.routers[2].network.weight
    assert deeper.model.routers[3].network.weight.data_ptr() == last.data_ptr()
    assert deeper.lm_head.weight.data_ptr() == model.lm_head.weight.data_ptr()
    with torch.no_grad():
        trace = deeper(token_ids(1, 30)).recursion_trace
        active, logits = trace.active(), trace.router_logits()
    assert torch.equal(active[..., 3], active[..., 2] & (logits[..., 3] >= 0))


def test_a_recursive_model_simply_goes_round_once_more(tiny_loaded):
    model = tiny_model(router_type="none")
    deeper = deepen(tiny_loaded, model, 4)
    assert deeper.config.num_hidden_layers == model.config.num_hidden_layers + 2
    with torch.no_grad():
        assert not torch.allclose(deeper(token_ids(1, 9)).logits, model(token_ids(1, 9)).logits)


def test_impossible_counts_are_refused_with_the_remedy():
    with pytest.raises(ValueError, match="at least the trained 3, got 2; for fewer use"):
        deeper_config(tiny_config(), 2)
    with pytest.raises(ValueError, match="scores no other depths"):
        deeper_config(tiny_config(**TOKEN_CHOICE), 4)


def test_a_trace_says_that_it_is_an_experiment(tiny_loaded):
    deeper = with_recursions(tiny_loaded, 5)
    trace = collect_trace(generate_with_trace(deeper, "Once", max_new_tokens=3, temperature=0))
    assert trace.header.num_recursions == 5
    assert trace.header.config["num_recursions"] == 5
    assert "5 recursions, where the model was trained with 3" in trace.header.note
    assert with_recursions(tiny_loaded, 3) is tiny_loaded


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
