"""The KV cache page and what it draws: occupancy by hand, bytes against accounting, and what fits."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.charts import kv as kv_charts
from app.charts import memory as memory_charts
from app.tables import cache_capacity, cache_tables
from app.tables.cache_capacity import Load
from app.tables.costs import PLAIN
from mor_core.checkpoints.checkpoint import read_config
from mor_core.model.accounting import kv_bytes, parameter_count, vanilla_kv_bytes
from mor_core.model.paper import paper_config
from mor_core.traces.trace import CacheSlot
from tests.scripted import DEPTHS, ENTRY_BYTES, SLOTS, scripted_trace
from tests.views.test_pages import checkpoints, figures, opened, recorded_checkpoint, shown, table
from tests.views.test_router_page import replaced

__all__ = ["checkpoints", "recorded_checkpoint"]  # fixtures

SCHEDULE = Load("360M", 3, 2048, 32, 2, (1.0, 2 / 3, 1 / 3))


def shared_trace():
    """The scripted run as it would be with the keys of recursion 1 for all."""
    trace = scripted_trace()
    header = trace.header
    header.kv_strategy = "shared"
    header.cache_slots = [
        CacheSlot("prelude", None, 1, "Prelude 1"),
        CacheSlot("shared", 1, 1, "Shared L1"),
        CacheSlot("coda", None, 1, "Coda 1"),
    ]
    for token in trace.tokens:
        token.cached_slots = [0, 1, 2]
    return trace


def test_occupancy_is_own_where_a_slot_holds_the_token():
    trace = scripted_trace()
    rows = cache_tables.layer_rows(trace.header)
    for token, depth in zip(trace.tokens, DEPTHS, strict=True):
        levels = [cache_tables.level(token, row) for row in rows]
        assert [slot for slot, what in enumerate(levels) if what == cache_tables.OWN] == SLOTS[
            depth
        ]
        assert set(levels) <= {cache_tables.OWN, cache_tables.ABSENT}
    found = cache_tables.occupancy_table(trace)
    assert found["absent"].tolist() == [3 - depth for depth in DEPTHS]
    absent = {1: "2, 3", 2: "3", 3: ""}
    assert found["absent_at_recursions"].tolist() == [absent[depth] for depth in DEPTHS]


def test_shared_keys_are_read_at_every_recursion_and_owned_at_the_first():
    trace = shared_trace()
    rows = cache_tables.layer_rows(trace.header)
    assert [row.label for row in rows] == ["Prelude 1", "R1 L1", "R2 L1", "R3 L1", "Coda 1"]
    levels = [cache_tables.level(trace.tokens[1], row) for row in rows]
    own, shared = cache_tables.OWN, cache_tables.SHARED
    assert levels == [own, own, shared, shared, own]
    assert "5 layer calls read 3 slots" in kv_charts.occupancy(trace, range(6)).finding


def test_occupancy_chart_leaves_what_was_not_computed_empty():
    trace = scripted_trace()
    trace.tokens[-1].recursion_depth, trace.tokens[-1].cached_slots = None, []
    chart = kv_charts.occupancy(trace, range(2, 6))
    cells = np.array(chart.figure.data[0].z, dtype=float)
    assert np.isnan(cells[:, -1]).all()
    assert not np.isnan(cells[:, :-1]).any()
    assert chart.table["position"].tolist() == [2, 3, 4, 5]
    assert (
        "3 of 5 tokens are not cached at recursion 3" not in chart.finding
    )  # 2, 1, 3, 1, 2: four are
    assert "4 of 5 tokens are not cached at recursion 3" in chart.finding


def test_growth_is_the_bytes_that_each_call_measured():
    trace = scripted_trace()
    found = cache_tables.growth_table(trace)
    kept = np.cumsum([len(SLOTS[depth]) for depth in DEPTHS])[1:]  # the prompt has two tokens
    assert found["num_tokens"].tolist() == [2, 3, 4, 5, 6]
    assert found["kv_bytes"].tolist() == list(kept * ENTRY_BYTES)
    third = np.cumsum([depth == 3 for depth in DEPTHS])[1:]
    assert found["kv_bytes_r3"].tolist() == list(third * ENTRY_BYTES)
    assert found["kv_bytes_plain"].tolist() == [5 * ENTRY_BYTES * tokens for tokens in range(2, 7)]
    parts = found[["kv_bytes_outside", "kv_bytes_r1", "kv_bytes_r2", "kv_bytes_r3"]].sum(axis=1)
    assert parts.tolist() == found["kv_bytes"].tolist()
    finding = kv_charts.growth(found, 3).finding
    assert "adds between 192 B and 320 B" in finding  # 3 to 5 entries of 64 bytes
    trace.header.windows = [[0, 4], [2, 6]]
    assert cache_tables.growth_table(trace).empty


def test_strategies_are_counted_for_the_depths_of_the_run(recorded_checkpoint):
    from mor_core.traces.trace_file import load_trace

    trace = load_trace(next((recorded_checkpoint / "tiny" / "traces").iterdir()))
    config = read_config(recorded_checkpoint / "tiny")
    found = cache_capacity.run_strategies(config, trace).set_index(["strategy", "how"])["kv_bytes"]
    counts = cache_tables.recursion_counts(trace)
    tokens = counts[0]
    assert counts[0] > counts[2]
    assert found["this run", "measured"] == found["recursion-wise", "counted"]
    assert found["recursion-wise", "counted"] == kv_bytes(config, tokens, counts, 4)
    shared = config.replaced(kv_strategy="shared")
    assert found["shared keys", "counted"] == kv_bytes(shared, tokens, counts, 4)
    assert found[PLAIN, "counted"] == vanilla_kv_bytes(config, tokens, 4)


def test_paper_bytes_by_hand():
    found = cache_capacity.paper_table(replace(SCHEDULE, context=6, batch=2)).set_index("strategy")
    assert found["kv_bytes_per_sequence"].to_dict() == {
        # bytes a token of test_paper.py, of 6 tokens
        "recursion-wise": 6 * 28_160,
        "shared keys": 6 * 15_360,
        PLAIN: 6 * 40_960,
    }
    assert (found["kv_bytes"] == 2 * found["kv_bytes_per_sequence"]).all()
    assert found.loc[PLAIN, "weight_bytes"] == 2 * parameter_count(paper_config("360M"))
    chart = memory_charts.paper_bytes(found.reset_index(), SCHEDULE)
    assert "69% of the plain Transformer's 480 KiB" in chart.finding


@pytest.mark.parametrize("size", cache_capacity.SIZES)
@pytest.mark.parametrize("recursions", [2, 3, 4])
def test_one_more_does_not_fit(size, recursions):
    capacities = tuple((recursions - index) / recursions for index in range(recursions))
    load = replace(SCHEDULE, size=size, num_recursions=recursions, shares=capacities)
    memory_bytes = 8 * 2**30
    fits = cache_capacity.fit_table(load, memory_bytes).set_index("strategy")
    for strategy, config in cache_capacity.paper_models(load).items():
        left = memory_bytes - 2 * parameter_count(config)
        batch, context = fits.loc[strategy, ["largest_batch", "largest_context"]]
        one = cache_capacity.sequence_bytes(config, load.context, load)
        assert batch * one <= left < (batch + 1) * one
        assert load.batch * cache_capacity.sequence_bytes(config, context, load) <= left
        assert load.batch * cache_capacity.sequence_bytes(config, context + 1, load) > left


def test_nothing_fits_where_the_weights_do_not():
    fits = cache_capacity.fit_table(replace(SCHEDULE, size="1.7B"), 2**30)
    assert fits["largest_batch"].tolist() == [0, 0, 0]
    assert fits["largest_context"].tolist() == [0, 0, 0]
    curve = cache_capacity.fit_curve(replace(SCHEDULE, size="1.7B"), 2**30, (256, 512))
    chart = memory_charts.fit_lines(curve, fits, replace(SCHEDULE, size="1.7B"), 1)
    assert "fits no sequence" in chart.finding


def test_page_draws_a_run_and_counts_for_it(checkpoints: Path) -> None:
    page = opened("kv_cache")
    assert [figure["data"][0]["type"] for figure in figures(page)] == [
        "heatmap",
        "scatter",
        "bar",
        "bar",
        "scatter",
    ]
    strategies = table(page, "how")
    assert strategies["how"].tolist() == ["measured", "counted", "counted", "counted"]
    assert table(page, "kv_bytes_plain")["kv_bytes"].iloc[-1] == strategies["kv_bytes"].iloc[0]


def test_page_counts_anew_for_other_sizes_and_memory(checkpoints: Path) -> None:
    page = opened("kv_cache")
    before = table(page, "largest_batch")["largest_batch"].tolist()
    page.select_slider(key="gpu").set_value(80).run()
    assert not page.exception
    after = table(page, "largest_batch")["largest_batch"].tolist()
    assert all(more > less for more, less in zip(after, before, strict=True))
    page.button_group(key="shares").set_value("as in the run above").run()
    assert not page.exception
    assert not page.warning
    page.button_group(key="recursions").set_value("2").run()
    assert "does not have 2 recursions" in page.warning[0].value


def test_page_of_a_model_without_router(checkpoints: Path, tiny_tokenizer) -> None:
    replaced(checkpoints, tiny_tokenizer, router_type="none", num_recursions=1)
    page = opened("kv_cache")
    assert "tiny has no router" in shown(page)
    assert "Every layer keeps every token" in shown(page)


def test_page_without_runs_still_counts(checkpoints: Path) -> None:
    shutil.rmtree(checkpoints / "tiny" / "traces")
    page = opened("kv_cache")
    assert "mor record" in shown(page)
    assert len(figures(page)) == 2


@pytest.mark.parametrize("name", ["router", "kv_cache"])
def test_page_without_checkpoints_says_what_to_do(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOR_CHECKPOINTS", str(tmp_path / "nothing"))
    assert "mor train" in shown(opened(name))


@pytest.mark.parametrize("name", ["router", "kv_cache"])
def test_page_speaks_chinese(name: str, checkpoints: Path) -> None:
    from streamlit.testing.v1 import AppTest

    from tests.views.test_pages import ENTRY

    page = AppTest.from_file(ENTRY, default_timeout=60)
    page.query_params["lang"] = "zh"
    page.switch_page(f"../pages/{name}.py").run()
    assert not page.exception
    assert all(any("\u4e00" <= sign <= "\u9fff" for sign in head.value) for head in page.subheader)


def test_page_of_shared_keys_calls_nothing_absent(checkpoints: Path, tiny_tokenizer) -> None:
    replaced(checkpoints, tiny_tokenizer, kv_strategy="shared")
    page = opened("kv_cache")
    assert "whether the token took them or not" in shown(page)
    assert not [frame for frame in page.dataframe if "absent_from_last_recursion" in frame.value]
    assert table(page, "absent_at_recursions")["absent"].dropna().eq(0).all()
