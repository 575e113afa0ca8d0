"""Each benchmark on a model of a few thousand weights: what it yields, and that its costs are the counted ones."""

from typing import Any

import pytest
import torch

from mor_core.benchmarks import growth as growth_benchmark
from mor_core.benchmarks import prefill as prefill_benchmark
from mor_core.benchmarks import train as train_benchmark
from mor_core.benchmarks.harness import Bench
from mor_core.benchmarks.roofline import Roofline
from mor_core.benchmarks.workloads import (
    decode_costs,
    layer_parameters,
    prefill_costs,
    random_model,
    random_tokens,
    step_side,
)
from mor_core.model.accounting import active_flops, kv_bytes, training_flops
from mor_core.training.recipe import OptimiserSection
from tests.models import tiny_config

TINY = tiny_config(max_position_embeddings=8192)


@pytest.fixture
def bench(monkeypatch) -> Bench:
    monkeypatch.setattr("gc.collect", lambda: 0)  # walks all of torch
    return Bench(quick=True, warm_ups=0, repeats=2, roofline=Roofline(1e9, 1e9))


def shape_of_tests(*_: Any, **__: Any) -> Any:
    return TINY


def test_prefill_yields_both_caches(bench, monkeypatch):
    monkeypatch.setattr(prefill_benchmark, "shape", shape_of_tests)
    results = list(prefill_benchmark.run(bench))
    assert [result.aim for result in results] == [0.75, None]
    assert all(0 < result.bound < 1 for result in results)
    counts = results[0].extra["active_counts"]
    assert counts[0] == 128
    assert counts == sorted(counts, reverse=True)


def test_prefill_costs_are_the_counted_flops_without_the_half_that_nobody_sees():
    counts = [16, 10, 4]
    flops = sum(cost.flops for cost in prefill_costs(TINY, 16, counts, 1, 4))
    width = TINY.num_attention_heads * TINY.attention_head_dim
    queries = [16, *[count for count in counts for _ in range(TINY.num_layers_per_recursion)], 16]
    unseen = sum(2 * count * count * width for count in queries)
    routing = 2 * TINY.hidden_size * (16 + 16 + 10)
    assert flops == active_flops(TINY, 16, counts, num_logits=1) - unseen - routing
    plain = prefill_costs(TINY, 16, counts, 1, 4)
    halved = prefill_costs(TINY, 16, counts, 1, 2)
    assert [cost.num_bytes for cost in plain] == [2 * cost.num_bytes for cost in halved]


def test_decode_costs_read_each_weight_once_however_many_rows():
    config = tiny_config(router_type="none", num_recursions=1)
    one, many = (decode_costs(config, 8, [8], rows, 4)[0] for rows in (1, 5))
    entry = 2 * config.num_key_value_heads * config.attention_head_dim * 4
    assert one.num_bytes == 4 * layer_parameters(config) + 9 * entry
    assert many.num_bytes - one.num_bytes == 4 * 9 * entry
    assert many.flops == 5 * one.flops


def test_growth_fills_caches_of_the_schedules_size(bench, monkeypatch):
    monkeypatch.setattr(growth_benchmark, "shape", shape_of_tests)
    monkeypatch.setattr(growth_benchmark, "DEMO", TINY)
    results = list(growth_benchmark.run(bench))
    assert [result.extra.get("slots") for result in results[2:]] == [1, 2]
    assert results[3].extra["our_kv_bytes"] < results[3].extra["their_kv_bytes"]
    assert results[2].extra["their_kv_bytes"] < results[3].extra["their_kv_bytes"]
    results = results[:2]
    assert [result.extra["context"] for result in results] == [128, 256]
    for result in results:
        context = result.extra["context"]
        counts = [context, context * 2 // 3, context // 3]
        assert result.extra["our_kv_bytes"] == kv_bytes(TINY, context, counts, 4)
        assert result.extra["our_kv_bytes"] < result.extra["their_kv_bytes"]
        assert "not claimed" in result.note


def test_growth_decodes_on_what_it_says_it_holds(monkeypatch):
    model = growth_benchmark.random_model(TINY)
    decode = growth_benchmark.FilledDecode(model, 128)
    side = decode.side("ours")
    side.prepare()
    assert decode.cache.nbytes == decode.num_bytes
    side.run()
    assert decode.cache.num_seen_tokens == 128 + 8
    side.prepare()
    assert decode.cache.nbytes == decode.num_bytes


def test_training_steps_change_the_weights_and_share_the_peak(bench, monkeypatch):
    models = []

    def watched(*settings):
        model = random_model(*settings)
        models.append((model, [weight.detach().clone() for weight in model.parameters()]))
        return model

    monkeypatch.setattr(train_benchmark, "DEMO", TINY)
    monkeypatch.setattr(train_benchmark, "random_model", watched)
    (result,) = train_benchmark.run(bench)
    assert result.unit == "tokens/s"
    flops = training_flops(TINY, 512, [512, 341, 170])
    assert result.extra["matrix_peak_share"] == pytest.approx(result.ours / 512 * flops / 1e9)
    assert len(models) == 2  # ours and the vanilla model
    for model, before in models:
        assert not any(map(torch.equal, before, model.parameters()))


def test_a_step_reads_its_texts_once_a_pass():
    model, calls = random_model(TINY).train(), []
    model.register_forward_hook(lambda *_: calls.append(1))
    side = step_side("a", model, random_tokens(TINY, 2, 16), OptimiserSection(), passes=3)
    side.run()
    assert (len(calls), side.work) == (3, 3 * 2 * 16)
