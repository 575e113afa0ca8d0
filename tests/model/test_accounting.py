"""Closed forms against PyTorch's own counters."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mor_core import MoRConfig, MoRForCausalLM, RoutingRule
from mor_core.model.accounting import (
    TRAINING_FACTOR,
    active_flops,
    dense_flops,
    executed_flops,
    kv_bytes_per_entry,
    parameter_count,
    training_flops,
    vanilla_config,
    vanilla_kv_bytes,
)
from tests.loops import thinned
from tests.models import ROUTED, UNROUTED, UPDATED, tiny_model, token_ids

FAMILY = ROUTED | UNROUTED | {"untied": {"tie_word_embeddings": False}}


def counted_flops(function):
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        result = function()
    return counter.get_total_flops(), result


@pytest.mark.parametrize("fields", thinned(FAMILY | UPDATED, every=3))
def test_active_flops_equal_the_counter_on_the_gathered_path(fields):
    model = tiny_model(**fields)
    ids = token_ids(1, 40)
    with torch.no_grad():
        counted, out = counted_flops(lambda: model(ids, use_cache=False))
    counts = out.recursion_trace.active_counts()[0]
    assert counted == active_flops(model.config, 40, counts)


@pytest.mark.parametrize("name", ["default", "token choice", "token choice, shared keys"])
def test_a_cap_saves_the_work_beyond_it(name):
    model, ids = tiny_model(**ROUTED[name]), token_ids(1, 40)
    found = []
    for most in (3, 2, 1):
        rule = RoutingRule.causal().capped(most)
        with torch.no_grad():
            counted, out = counted_flops(lambda rule=rule: model(ids, routing=rule))
        counts = out.recursion_trace.active_counts()[0]
        assert counts[most:] == [0] * (3 - most)
        assert counted == active_flops(model.config, 40, counts)
        found.append(counted)
    assert found[0] > found[1] > found[2]


@pytest.mark.parametrize("name", ["token choice", "default", "vanilla"])
def test_executed_flops_equal_the_counter_on_a_batch_of_uneven_rows(name):
    model, ids = tiny_model(**FAMILY[name]), token_ids(3, 40)
    with torch.no_grad():
        counted, out = counted_flops(lambda: model(ids, use_cache=False))
    counts = out.recursion_trace.active_counts()
    assert TRAINING_FACTOR * counted == executed_flops(model.config, 40, counts)
    needed = sum(training_flops(model.config, 40, row) for row in counts)
    uneven = len({tuple(row) for row in counts}) > 1
    assert uneven == (name != "vanilla")
    assert (TRAINING_FACTOR * counted > needed) == uneven


@pytest.mark.parametrize("fields", thinned(FAMILY, every=3))
def test_dense_flops_equal_the_counter_on_the_masked_path(fields):
    model = tiny_model(**fields)
    with torch.no_grad():
        counted, _ = counted_flops(lambda: model(token_ids(1, 40), use_cache=False, gathered=False))
    assert counted == dense_flops(model.config, 40)


@pytest.mark.parametrize("fields", thinned(FAMILY, every=3))
def test_decode_step_equals_the_counter(fields):
    model = tiny_model(**fields)
    ids = token_ids(1, 21)
    with torch.no_grad():
        past = model(ids[:, :20])
        past_counts = past.recursion_trace.active_counts()[0]
        counted, out = counted_flops(
            lambda: model(ids[:, 20:], past_key_values=past.past_key_values)
        )
    counts = out.recursion_trace.active_counts()[0]
    assert counted == active_flops(model.config, 1, counts, past_tokens=20, past_counts=past_counts)


def test_training_flops_are_three_forwards():
    """Forward plus backward of the whole model, by the counter; only the input embedding needs no gradient."""
    model = MoRForCausalLM(MoRConfig(hidden_size=64, intermediate_size=96, vocab_size=64)).train()
    ids = torch.randint(0, 64, (1, 32))

    def step():
        model(ids, routing=RoutingRule.top_k()).logits.sum().backward()

    counted, _ = counted_flops(step)
    claimed = training_flops(model.config, 32, [32, 21, 10])
    assert counted == claimed


@pytest.mark.parametrize("fields", FAMILY.values(), ids=FAMILY)
def test_parameters_equal_the_closed_form(fields):
    model = tiny_model(**fields)
    stored = {id(tensor): tensor.numel() for tensor in model.state_dict(keep_vars=True).values()}
    assert parameter_count(model.config) == sum(stored.values())


def test_recursions_cost_no_parameters_but_their_routers():
    one, three = (parameter_count(MoRConfig(num_recursions=n)) for n in (1, 3))
    assert three - one == 2 * MoRConfig().hidden_size


@pytest.mark.parametrize(
    ("hidden", "heads", "key_value_heads", "mlp", "expected"),
    [
        (576, 9, 3, 1536, 3_540_096),
        (960, 15, 5, 2560, 9_832_320),
        (1536, 24, 8, 4096, 25_168_896),
        (2048, 32, 32, 8192, 67_112_960),
    ],
)
def test_parameters_per_layer_are_the_papers(hidden, heads, key_value_heads, mlp, expected):
    one, two = (
        parameter_count(
            MoRConfig(
                num_layers_per_recursion=layers,
                hidden_size=hidden,
                num_attention_heads=heads,
                num_key_value_heads=key_value_heads,
                intermediate_size=mlp,
            )
        )
        for layers in (1, 2)
    )
    assert two - one == expected


def test_vanilla_peer_has_the_same_depth_and_a_full_cache():
    config = tiny_model().config
    plain = vanilla_config(config)
    assert plain.num_hidden_layers == config.num_hidden_layers
    assert not plain.has_router
    assert plain.hidden_size == config.hidden_size
    with torch.no_grad():
        cache = MoRForCausalLM(plain).eval()(token_ids(1, 30)).past_key_values
    assert vanilla_kv_bytes(config, 30, 4) == cache.nbytes
    assert cache.nbytes == 8 * 30 * kv_bytes_per_entry(config, 4)


def test_wrong_number_of_counts_is_refused():
    with pytest.raises(ValueError, match="num_recursions=3 entries, got 2"):
        active_flops(MoRConfig(), 10, [10, 5])
