"""Tables hold the trace's values; what was not computed is empty; a CSV file holds no formula."""

import csv
import io
import math

import pandas as pd
import pytest

from app.tables import trace_tables
from mor_core.generation.generation import analyse_text, collect_trace, generate_with_trace
from mor_core.traces.token_class import token_classes
from mor_core.traces.trace import TokenRecord
from tests.scripted import DEPTHS, ENTRY_BYTES, LOGITS, SLOTS, scripted_token, scripted_trace


def tokens_of(*texts: str) -> list[TokenRecord]:
    """Tokens after a document start."""
    return [scripted_token(position, text, 1) for position, text in enumerate(("", *texts))]


def test_token_table_holds_the_trace():
    trace = scripted_trace()
    table = trace_tables.token_table(trace)
    assert table["recursion_depth"].tolist() == list(DEPTHS)
    assert table["position"].tolist() == list(range(len(DEPTHS)))
    assert table["token"].tolist()[0] == "<|endoftext|>"
    assert table["token"].tolist()[1] == "␣1"
    for row, depth in enumerate(DEPTHS):
        for recursion, logit in enumerate(LOGITS[depth], start=1):
            held = table[f"router_logit_r{recursion}"][row]
            assert math.isnan(held) if logit is None else held == logit
        assert table["kv_entries"][row] == len(SLOTS[depth])
        assert table["kv_bytes"][row] == len(SLOTS[depth]) * ENTRY_BYTES


def test_what_is_not_computed_is_empty_and_not_zero():
    trace = scripted_trace()
    trace.tokens[-1].recursion_depth = None
    trace.tokens[-1].router_logits = [None] * 3
    last = trace_tables.token_table(trace).iloc[-1]
    assert last[["recursion_depth", "router_logit_r1", "kv_entries", "kv_bytes"]].isna().all()
    row = next(csv.DictReader(io.StringIO(csv_text(trace_tables.token_table(trace).tail(1)))))
    assert row["recursion_depth"] == row["router_logit_r1"] == row["kv_bytes"] == ""


def csv_text(table: pd.DataFrame) -> str:
    return trace_tables.to_csv(table).decode("utf-8-sig")


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "|cmd", "%x"])
def test_csv_holds_no_formula(text):
    written = csv_text(pd.DataFrame({"token": [text, "plain"], "router_logit_r1": [-1.5, 2.0]}))
    rows = list(csv.reader(io.StringIO(written, newline="")))
    assert rows[1][0] == f"'{text}"
    assert rows[2][0] == "plain"
    assert rows[1][1] == "-1.5", "numbers stay numbers"


def test_csv_of_a_run_survives_quotes_and_commas():
    trace = scripted_trace()
    trace.tokens[2].text = ',"'
    trace.tokens[2].token_bytes = b',"'.hex()
    rows = list(csv.DictReader(io.StringIO(csv_text(trace_tables.token_table(trace)))))
    assert rows[2]["token"] == ',"'
    assert len(rows) == len(trace.tokens)


def test_shares_count_content_tokens_with_a_depth():
    trace = scripted_trace()
    trace.tokens[-1].recursion_depth = None
    table = trace_tables.shares_by_phase(trace).set_index("group")
    content = DEPTHS[1:-1]
    assert table.loc["all tokens", "num_tokens"] == len(content)
    assert table.loc["all tokens", "mean_depth"] == pytest.approx(sum(content) / len(content))
    for depth in (1, 2, 3):
        assert table.loc["all tokens", f"num_depth_{depth}"] == content.count(depth)
    parts = table.loc[["prompt (prefill)", "generated (decode)"], "num_tokens"]
    assert parts.sum() == len(content)


def test_depth_zero_appears_where_it_occurs():
    assert "num_depth_0" not in trace_tables.depth_shares(["a"], [1], 3)
    table = trace_tables.depth_shares(["a", "a"], [0, 1], 3)
    assert table.loc[0, "num_depth_0"] == 1
    assert table.loc[0, "mean_depth"] == 0.5


def test_positions_are_grouped_without_loss():
    trace = scripted_trace()
    table = trace_tables.shares_by_position(trace, 2)
    assert table["group"].tolist() == ["0-1", "2-3", "4-5"]
    assert table["num_tokens"].tolist() == [1, 2, 2]  # position 0 is special


def test_grouping_by_the_next_token_shifts_classes_by_one():
    trace = scripted_trace()
    for place, text in enumerate(["", " the", ",", " the", ",", " the"]):
        trace.tokens[place].text = text or trace.tokens[place].text
    here = trace_tables.shares_by_class(trace).set_index("group")["mean_depth"]
    following = trace_tables.shares_by_class(trace, of_next=True).set_index("group")["mean_depth"]
    assert here["determiner"] == pytest.approx((DEPTHS[1] + DEPTHS[3] + DEPTHS[5]) / 3)
    assert following["punctuation"] == (DEPTHS[1] + DEPTHS[3]) / 2
    assert following["determiner"] == (DEPTHS[2] + DEPTHS[4]) / 2


def test_slots_count_what_is_kept():
    table = trace_tables.slot_table(scripted_trace())
    assert table["tokens_kept"].tolist() == [
        sum(slot in SLOTS[depth] for depth in DEPTHS) for slot in range(5)
    ]


def test_pinned_token_is_explained_per_recursion():
    trace = scripted_trace()
    position = DEPTHS.index(1)
    table = trace_tables.pinned_table(trace, position, [None, 0.0, 0.0])
    assert table["taken"].tolist() == [True, False, False]
    assert table["margin"][1] == LOGITS[1][1]
    assert pd.isna(table["router_logit"][2])
    assert table["kept_in_slots"].tolist() == ["R1 L1", "", ""]


def test_classes_follow_the_spelling():
    texts = [
        " The",
        " rab",
        "bit",
        " and",
        " he",
        " ran",
        ",",
        "\n",
        " 12",
        " to",
        " Peter",
        ".",
        " Then",
    ]
    assert token_classes(tokens_of(*texts))[1:] == [
        "determiner",
        "first part of a word",
        "later part of a word",
        "conjunction",
        "pronoun",
        "other word",
        "punctuation",
        "line break or space",
        "number",
        "preposition",
        "capitalised word",
        "punctuation",
        "other word",
    ]


def test_part_of_a_character_and_contractions():
    tokens = tokens_of(" don", "'t", "\ufffd")
    assert token_classes(tokens) == [
        "special token",
        "other word",
        "auxiliary",
        "part of a character",
    ]


def test_word_of_a_list_that_goes_on_is_a_part_of_another():
    assert token_classes(tokens_of(" the", "re"))[1:] == [
        "first part of a word",
        "later part of a word",
    ]


def test_table_of_a_real_run(tiny_loaded):
    trace = collect_trace(
        generate_with_trace(tiny_loaded, "Once upon a time", max_new_tokens=6, seed=1)
    )
    table = trace_tables.token_table(trace)
    assert len(table) == len(trace.tokens)
    last = table.iloc[-1]
    assert pd.isna(last["recursion_depth"]) == (trace.tokens[-1].recursion_depth is None)
    known = table["recursion_depth"].notna()
    assert table.loc[known, "kv_bytes"].sum() == sum(trace.steps[-1].cache_bytes)


def test_table_of_a_text_in_windows(tiny_loaded):
    trace = collect_trace(analyse_text(tiny_loaded, "the old rabbit ran home and " * 12))
    assert trace.header.windows
    shares = trace_tables.shares_by_phase(trace)
    assert shares["group"].tolist() == ["all tokens"]
    assert shares["num_tokens"][0] == len(trace.tokens) - 1
