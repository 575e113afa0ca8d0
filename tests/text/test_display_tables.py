"""Tables on the screen speak the viewer's language, down to names of rules and slots; what is saved does not change."""

import json
import re

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from app.charts import costs as costs_charts
from app.tables import costs, family_results, result_files, router_results, trace_tables
from app.text import display_tables
from app.text import words as app_words
from app.text.display_names import (
    column_label,
    routing_label,
    rule_label,
    run_note,
    run_title,
    slot_label,
)
from mor_core.checkpoints.checkpoint import describe_checkpoint
from mor_core.model.config import MoRConfig
from mor_core.traces.presets import PRESETS
from tests.scripted import scripted_trace
from tests.test_architecture import ROOT

CHINESE = re.compile("[\u4e00-\u9fff]")
DEMO = ROOT / "checkpoints" / "stories-demo"


@pytest.fixture
def chinese(monkeypatch):
    monkeypatch.setattr(app_words._Viewer, "language", staticmethod(lambda: "zh"))


def tables_of_a_run():
    trace = scripted_trace()
    return [
        trace_tables.token_table(trace),
        trace_tables.slot_table(trace),
        trace_tables.pinned_table(trace, 1, [0.0, 0.0, 0.0]),
        trace_tables.shares_by_class(trace),
        result_files.speed_table([trace]),
    ]


def tables_of_results():
    family = family_results.read_family(ROOT / "checkpoints")
    info = describe_checkpoint(DEMO)
    config = MoRConfig()
    flops = costs.flops_table(config, 8, [1.0] * config.num_recursions)
    kept = costs.kv_table(config, [0, 8], [1.0] * config.num_recursions, 2)
    return [
        family_results.members_table(family),
        family_results.rules_table(family, "stories-demo"),
        family_results.sweep_table(family, "stories-demo"),
        family_results.differences_table(family, "stories-demo"),
        family_results.paper_table(),
        family_results.paper_throughput_table(),
        result_files.evaluation_table(info.evaluation),
        router_results.load_table(info.evaluation, info.config),
        router_results.reach_table(info.evaluation),
        costs_charts.flops_bars(flops, config.num_recursions, 8).table,
        costs_charts.kv_lines(kept).table,
    ]


@pytest.mark.parametrize("made", [tables_of_a_run, tables_of_results])
def test_every_heading_has_chinese_words(made, chinese):
    for table in made():
        for name, words in display_tables.headings(table).items():
            assert CHINESE.search(words), name


@pytest.mark.usefixtures("chinese")
def test_numbers_at_the_end_of_a_name_are_kept():
    assert column_label("router_logit_r2").endswith("递归 2")
    assert column_label("num_depth_3") == "深度 3 的词元数"
    assert column_label("at_batch_32") == "批量 32"
    assert column_label("a-checkpoint_1") == "a-checkpoint_1", "a name without words stays"


@pytest.mark.usefixtures("chinese")
def test_values_are_translated_on_the_screen_alone():
    table = trace_tables.token_table(scripted_trace())
    shown = display_tables.values(table)
    for column in ("phase", "token_class"):
        assert all(CHINESE.search(value) for value in shown[column])
    assert shown["token"].equals(table["token"]), "what the text says is nobody's to translate"
    assert set(table["phase"]) <= {"prefill", "decode"}
    assert "prefill" in trace_tables.to_csv(table).decode("utf-8-sig")


@pytest.mark.usefixtures("chinese")
def test_names_of_the_library():
    assert rule_label("fixed:2") == "固定深度 2"
    assert rule_label("new_rule") == "new_rule"
    assert routing_label({"name": "causal", "max_depth": 2}) == "因果，深度至多 2"
    assert routing_label({"name": "causal"}) == "因果"
    assert slot_label("Prelude 1") == "前置层 1"
    assert slot_label("R2 L1") == "R2 L1"
    assert all(CHINESE.search(run_title(preset.title)) for preset in PRESETS)
    assert run_title("Somebody's run") == "Somebody's run"
    note = "An experiment: kv_strategy shared, where the model was trained with recursion_wise."
    assert run_note("", note) == "实验：各次递归共享键值，而模型训练时为：逐递归缓存。"
    assert run_note("", "Somebody's note") == "Somebody's note"


def test_english_names_are_the_librarys_own():
    """So that a table, its CSV file and the command line call a rule the same."""
    table = family_results.rules_table(
        family_results.read_family(ROOT / "checkpoints"), "stories-demo"
    )
    assert display_tables.values(table) is table
    trace = scripted_trace()
    labels = [slot.label for slot in trace.header.cache_slots]
    assert [slot_label(label) for label in labels] == labels


@pytest.mark.usefixtures("chinese")
def test_a_table_is_drawn_with_its_headings():
    def page():
        from app.frame import page_parts
        from app.tables.trace_tables import slot_table
        from tests.scripted import scripted_trace

        page_parts.show_table(slot_table(scripted_trace()), key="slots")

    drawn = AppTest.from_function(page).run()
    assert not drawn.exception
    headings = json.loads(drawn.dataframe[0].proto.columns)
    assert headings["tokens_kept"]["label"] == "保留的词元"
    assert drawn.dataframe[0].value["slot"].tolist()[0] == "前置层 1"


@pytest.mark.parametrize(
    ("numbers", "form"),
    [
        ([1, 1452770816], "localized"),
        ([2.0, None, 3000.0], "localized"),
        ([1087.6828, 178.3584, 164.1], "%.1f"),
        ([0.000123, 0.000321], "%.6f"),
        ([3.2239, 3.3154], "%.3f"),
        (["a", "b"], None),
        ([True, False], None),
    ],
)
def test_numbers_are_written_to_be_read(numbers, form):
    assert display_tables.number_format(pd.Series(numbers)) == form
