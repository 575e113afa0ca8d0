"""Where a token's time goes: the parts are those of one run, and the page draws what the file holds."""

import pytest
import torch
from torch.profiler import record_function

from app.charts import profile as profile_charts
from app.tables import bench_results
from app.text.words import say
from mor_core.benchmarks import profile as profile_benchmark
from mor_core.benchmarks.harness import Bench, Side
from mor_core.benchmarks.profile import OPERATIONS, PARTS, kind_of
from mor_core.benchmarks.roofline import Roofline
from mor_core.benchmarks.serve import _HELD, _NEW, EngineSide
from tests.models import tiny_model


@pytest.fixture
def found(tiny_checkpoint, monkeypatch):
    """The results of all three runs, on models of a few thousand weights."""
    monkeypatch.setenv("MOR_CHECKPOINTS", str(tiny_checkpoint.parent))
    plain = {"router_type": "none", "num_recursions": 1}

    def model(_name, _recursions, is_plain, *_):
        return tiny_model(max_position_embeddings=_HELD + _NEW, **(plain if is_plain else {}))

    monkeypatch.setattr(profile_benchmark, "side_model", model)
    monkeypatch.setattr(
        profile_benchmark, "EngineSide", lambda model, **_: EngineSide(model, 2, 2, 2)
    )
    monkeypatch.setattr("gc.collect", lambda: 0)  # walks all of torch
    bench = Bench(warm_ups=0, repeats=1, roofline=Roofline(1e9, 1e9))
    monkeypatch.setattr(bench, "pick", lambda full, _: min(full, 5))
    return list(profile_benchmark.run(bench))


def test_parts_are_all_of_a_tokens_time(found):
    runs = list(dict.fromkeys(result.extra["run"] for result in found))
    assert runs == ["stream", "served", "served_plain"]
    for run in runs:
        parts = {r.extra["part"]: r for r in found if r.extra["run"] == run}
        assert tuple(parts) == PARTS
        whole = parts["rest"].extra["token_ms"]
        assert sum(part.ours for part in parts.values()) >= whole * (1 - 1e-9)
        assert all(parts[name].ours > 0 for name in OPERATIONS)
        assert (parts["recording"].ours > 0) == (run == "stream")
        assert parts["rest"].extra["least_token_ms"] > 0


def test_what_records_a_token_is_told_apart_from_the_model():
    weights = torch.randn(200, 200)

    def record():
        with record_function(profile_benchmark.RECORDING):
            weights @ weights

    assert not profile_benchmark.time_by_kind(Bench(), Side("records", record))["products"]
    assert profile_benchmark.time_by_kind(Bench(), Side("models", lambda: weights @ weights))[
        "products"
    ]


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("aten::addmm", "products"),
        ("mkldnn::_linear_pointwise", "products"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu", "attention"),
        ("aten::copy_", "copies"),
        ("aten::silu", None),
    ],
)
def test_large_operations_are_told_by_their_names(operation, kind):
    assert kind_of(operation) == kind


def test_chart_draws_what_the_file_holds(found):
    document = {"benchmark": "profile", "results": [result.as_dict() for result in found]}
    table = bench_results.profile_table(document)
    chart = profile_charts.time_parts(table)
    *bars, least = chart.figure.data
    assert [bar.name for bar in bars] == [say(f"bench.part_{part}") for part in PARTS]
    drawn = [value for bar in bars for value in bar.x]
    held = [r.ours for part in PARTS for r in found if r.extra["part"] == part]
    assert drawn == pytest.approx(held)
    assert list(least.x) == [
        r.extra["least_token_ms"] for r in found if r.extra["part"] == PARTS[0]
    ]
    assert chart.finding.count("ms per token") == 3


def test_other_benchmarks_have_no_profile():
    assert bench_results.profile_table({"benchmark": "decode", "results": []}).empty
