"""Costs equal the library's closed forms; files of results are read as they are, or refused by name."""

import json

import pandas as pd
import pytest

from app.charts import costs as costs_charts
from app.tables import costs, result_files
from mor_core.model.accounting import (
    active_flops,
    dense_flops,
    kv_bytes,
    vanilla_config,
    vanilla_kv_bytes,
)
from tests.models import tiny_config
from tests.scripted import scripted_trace

SHARES = [1.0, 0.5, 0.25]


@pytest.fixture(params=["recursion_wise", "shared"])
def config(request):
    return tiny_config(kv_strategy=request.param)


def test_shares_follow_from_the_histogram():
    assert costs.active_shares([2, 1, 1]) == SHARES
    with pytest.raises(ValueError, match="depth_histogram"):
        costs.active_shares([0, 0, 0])


def test_parts_add_up_to_the_closed_forms(config):
    tokens = 40
    totals = costs.flops_table(config, tokens, SHARES).groupby("model")["flops"].sum()
    counts = costs.active_counts(tokens, SHARES)
    assert counts == [40, 20, 10]
    assert totals[costs.ROUTED] == active_flops(config, tokens, counts)
    assert totals[costs.FULL] == dense_flops(config, tokens)
    assert totals[costs.PLAIN] == dense_flops(vanilla_config(config), tokens)


def test_model_without_router_costs_its_full_depth():
    config = tiny_config(router_type="none")
    totals = costs.flops_table(config, 16, [1.0] * 3).groupby("model")["flops"].sum()
    assert totals[costs.ROUTED] == totals[costs.FULL] == dense_flops(config, 16)


def test_cache_bytes_are_the_closed_forms():
    own = tiny_config()
    table = costs.kv_table(own, [0, 40], SHARES, 2).set_index(["strategy", "num_tokens"])[
        "kv_bytes"
    ]
    assert (table[:, 0] == 0).all()
    assert table["recursion-wise", 40] == kv_bytes(own, 40, [40, 20, 10], 2)
    shared = tiny_config(kv_strategy="shared")
    assert table["shared keys", 40] == kv_bytes(shared, 40, [40, 20, 10], 2)
    assert table[costs.PLAIN, 40] == vanilla_kv_bytes(own, 40, 2)


def test_strategy_that_the_config_refuses_is_left_out():
    config = tiny_config(capacity_factors=[0.75, 0.5, 0.25])
    table = costs.kv_table(config, [8], [0.75, 0.5, 0.25], 4)
    assert set(table["strategy"]) == {"recursion-wise", costs.PLAIN}


def test_flops_chart_draws_the_table():
    config = tiny_config()
    table = costs.flops_table(config, 40, SHARES)
    chart = costs_charts.flops_bars(table, 3, 40)
    bars = {data.name: data for data in chart.figure.data if data.type == "bar"}
    drawn = sum(bar.x[0] for bar in bars.values() if bar.x[0] is not None)
    assert drawn * 1e6 * 40 == pytest.approx(table[table["model"] == costs.ROUTED]["flops"].sum())
    ratio = active_flops(config, 40, [40, 20, 10]) / dense_flops(config, 40)
    assert f"{ratio:.0%} of full depth" in chart.finding


def result(name: str, **figures):
    base = {
        "routing": {"name": name, "gate": "learned"},
        "nll_nats_per_token": 2.0,
        "bits_per_byte": 1.5,
        "perplexity": 7.4,
        "mean_recursion_depth": 2.0,
        "depth_histogram": [1, 2, 1],
        "active_flops_per_token": 75.0,
        "full_depth_flops_per_token": 100.0,
        "num_tokens": 4,
    }
    return {**base, **figures}


def test_evaluation_is_read_as_it_is():
    fixed = {"routing": {"name": "fixed", "depth": 2, "gate": "open"}, "bits_per_byte": 1.75}
    evaluation = {"results": [result("causal"), result("", **fixed)]}
    table = result_files.evaluation_table(evaluation)
    assert table["routing"].tolist() == ["causal", "fixed:2"]
    assert table["gate"].tolist() == ["learned", "open"]
    assert table["bits_per_byte"].tolist() == [1.5, 1.75]
    assert result_files.causal_result(evaluation)["depth_histogram"] == [1, 2, 1]
    finding = costs_charts.quality_points(table).finding
    assert "1.500 bits per byte" in finding
    assert "75% of full-depth FLOPs" in finding


def test_evaluation_that_is_missing_is_an_empty_table():
    assert result_files.evaluation_table({}).empty
    assert result_files.causal_result({}) is None


@pytest.mark.parametrize("name", ["causal", "aux", "argmax", "none"])
def test_every_kind_of_model_has_its_own_rule(name):
    evaluation = {"results": [result("top_k"), result(name)]}
    assert result_files.causal_result(evaluation)["routing"]["name"] == name
    table = result_files.evaluation_table(evaluation)
    assert "bits per byte" in costs_charts.quality_points(table).finding


def test_evaluation_that_lacks_a_figure_is_refused_by_name():
    broken = result("causal")
    del broken["bits_per_byte"]
    with pytest.raises(result_files.ResultError, match="bits_per_byte"):
        result_files.evaluation_table({"results": [broken]})


def test_training_log_spreads_its_lists(tmp_path):
    path = tmp_path / "train_log.jsonl"
    lines = [
        {"step": 1, "tokens": 8, "loss": {"lm": 3.0}, "routing_accuracy": [1.0, 0.5]},
        {
            "step": 2,
            "tokens": 16,
            "loss": {"lm": 2.5},
            "routing_accuracy": [1.0, 0.75],
            "validation": {"nll_causal_nats_per_token": 2.75},
        },
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    table = result_files.training_table(path)
    assert table["loss_lm"].tolist() == [3.0, 2.5]
    assert table["routing_accuracy_2"].tolist() == [0.5, 0.75]
    assert table["validation_nll_causal_nats_per_token"].dropna().tolist() == [2.75]
    columns = {
        "loss_lm": "training",
        "validation_nll_causal_nats_per_token": "validation",
        "absent": "x",
    }
    chart = costs_charts.training_curve(table, columns, "nats a token")
    assert [list(data.y) for data in chart.figure.data] == [[3.0, 2.5], [2.75]]


def test_training_log_that_is_missing_or_damaged(tmp_path):
    assert result_files.training_table(tmp_path / "train_log.jsonl").empty
    (tmp_path / "train_log.jsonl").write_text('{"step": 1}\nnot json\n')
    with pytest.raises(result_files.ResultError, match="line 2"):
        result_files.training_table(tmp_path / "train_log.jsonl")


def test_credits_keep_every_row(tmp_path):
    path = tmp_path / "ATTRIBUTION.tsv"
    path.write_text('title\tcredit\nThe "Moon"\tAnna\nA, B\tPeter\n', encoding="utf-8")
    assert result_files.credits_table(path).to_dict("list") == {
        "title": ['The "Moon"', "A, B"],
        "credit": ["Anna", "Peter"],
    }
    assert result_files.credits_table(tmp_path / "none.tsv").empty


def test_speed_is_what_the_steps_measured():
    trace = scripted_trace()
    row = result_files.speed_table([trace]).iloc[0]
    assert row["prefill_tokens"] == 2
    assert row["decode_tokens_per_s"] == pytest.approx(1 / 0.01)
    assert row["active_flops"] == sum(step.active_flops for step in trace.steps)


def test_latency_by_depth_compares_medians():
    table = pd.DataFrame(
        {"recursion_depth": [1, 1, 1, 3, 3, 3], "latency_s": [0.1, 0.2, 0.9, 0.3, 0.4, 0.5]}
    )
    chart = costs_charts.latency_by_depth(table, 3)
    assert chart.table["median_ms"].tolist() == [200, 400]
    assert "ratio 2.00" in chart.finding


def test_prompt_and_depthless_tokens_have_no_latency():
    trace = scripted_trace()
    for token in trace.tokens:
        token.latency_s = 0.5 if token.phase == "decode" else None
    trace.tokens[-1].recursion_depth = None
    table = result_files.decode_table([trace])
    assert table["position"].tolist() == [2, 3, 4]
