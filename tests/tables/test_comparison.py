"""Two runs compared by hand: what is shared, what each spends on it, and how well each predicts it."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from app.charts.compare import joint_depths, surprise_differences
from app.style.theme import NO_DEPTH
from app.tables.comparison import Figure, compare, piece_table, run_figures, shared_figures
from app.tables.depth_scale import shared_scale
from app.views.compare_words import (
    figure_table,
    finding,
    raw_table,
    rule_text,
    run_names,
    training_note,
)
from mor_core.checkpoints.checkpoint import CheckpointInfo
from mor_core.traces.trace import StepRecord, Trace
from tests.scripted import ENTRY_BYTES, scripted_header, scripted_token, scripted_trace

PLAIN = {
    "num_prelude_layers": 0,
    "num_coda_layers": 0,
    "num_recursions": 1,
    "num_layers_per_recursion": 5,
}


def run(depths: list[int], *parts: str, nats: float = -0.5) -> Trace:
    """A run of these parts behind the start of a document, each computed by a call of its own."""
    header = scripted_header()
    tokens = [
        scripted_token(place, part, depth)
        for place, (part, depth) in enumerate(zip(("", *parts), depths, strict=True))
    ]
    for token in tokens[1:]:
        token.log_probability = nats
    steps = [
        StepRecord("decode", place, 1, 0.01, 10 * depths[place], [], [])
        for place in range(len(tokens))
    ]
    return Trace(header, tokens, steps)


def plain(trace: Trace) -> Trace:
    """The same run by a plain Transformer of five layers."""
    trace.header.config = dict(PLAIN)
    trace.header.num_recursions = 1
    trace.header.routing = {"name": "none", "gate": "none"}
    for token in trace.tokens:
        token.recursion_depth = 1
    return trace


def values(figures: list[Figure]) -> dict[str, tuple[Any, ...]]:
    return {figure.name: figure.values for figure in figures}


def test_same_models_are_compared_in_recursions() -> None:
    config = scripted_header().config
    scale = shared_scale(config, config)
    assert scale.unit == "recursions"
    assert scale.values == ((0, 1, 2, 3), (0, 1, 2, 3))
    assert list(scale.colours) == [1, 2, 3]


def test_other_models_are_compared_in_layers_with_one_colour_for_one_count() -> None:
    scale = shared_scale(scripted_header().config, PLAIN)
    assert scale.unit == "layers"
    assert scale.values == ((2, 3, 4, 5), (0, 5))
    assert list(scale.colours) == [3, 4, 5], "the domain holds what either model can take"
    assert scale.span == 2


def test_no_recursion_has_a_colour_only_where_it_occurs() -> None:
    config = scripted_header().config
    skipping = config | {"capacity_factors": [0.8, 0.5, 0.2]}
    assert shared_scale(config, skipping).colours[0] == NO_DEPTH


def test_a_model_of_unknown_shape_is_compared_in_recursions() -> None:
    assert shared_scale({"num_recursions": 2}, PLAIN).unit == "recursions"


def test_difference_is_b_minus_a_for_each_token() -> None:
    compared = compare(run([3, 1, 2], "a", "b"), run([3, 2, 1], "a", "b"))
    assert compared.differences == [0, 1, -1]
    assert compared.content == [1, 2], "the start of the document is no content"


def test_merged_pieces_compare_what_all_their_tokens_take() -> None:
    compared = compare(run([3, 1, 2], "ab", "c"), run([3, 2, 2, 1], "a", "b", "c"))
    assert compared.differences == [0, 3, -1]
    table = piece_table(compared)
    assert table["tokens_b"].tolist() == ["<|endoftext|>", "a b", "c"]
    assert table["recursions_b"].tolist() == [3, 4, 1]


def test_a_depth_that_is_not_computed_is_compared_with_nothing() -> None:
    first, second = run([3, 1, 2], "a", "b"), run([3, 1, 2], "a", "b")
    second.tokens[2].recursion_depth = None
    compared = compare(first, second)
    assert compared.differences == [0, 0, None]
    assert values(shared_figures(compared))["tokens"] == (1, 1)
    assert pd.isna(piece_table(compared)["difference"][2])


def test_figures_count_the_shared_text_alone() -> None:
    first = run([3, 1, 2, 3, 3], "a", "b", "c", "d", nats=-1.0)
    second = run([3, 3, 3, 1], "a", "b", "X", nats=-2.0)
    compared = compare(first, second)
    assert (compared.alignment.rest, compared.alignment.diverges) == ((3, 3), True)
    found = values(shared_figures(compared))
    assert found["tokens"] == (2, 2)
    assert found["mean_recursions"] == (1.5, 3.0)
    assert found["flops"] == (60, 90)
    assert found["kv"] == (ENTRY_BYTES * (5 + 3 + 4), ENTRY_BYTES * 15)
    assert found["log_probability"] == pytest.approx((-1.0, -2.0))
    bits = 1 / math.log(2)
    assert found["bits_per_byte"] == pytest.approx((bits, 2 * bits))
    assert found["better"] == (2, 0)


def test_figures_of_whole_runs_count_all_that_was_computed() -> None:
    compared = compare(run([3, 1, 2], "a", "b"), run([3, 3], "X"))
    found = values(run_figures(compared))
    assert found["run_tokens"] == (3, 2)
    assert found["mean_recursions"] == (1.5, 3.0)
    assert found["flops_per_token"] == (20, 30)
    assert found["kv_per_token"] == (ENTRY_BYTES * 4, ENTRY_BYTES * 5)


def test_flops_of_a_call_that_goes_past_the_shared_text_are_left_out() -> None:
    first, second = run([3, 1, 2], "a", "b"), run([3, 1, 2], "a", "X")
    second.steps = [StepRecord("prefill", 0, 3, 0.01, 99, [], [])]
    assert "flops" not in values(shared_figures(compare(first, second)))


def test_log_probability_per_token_needs_the_same_tokens() -> None:
    found = values(shared_figures(compare(run([3, 1], "ab"), run([3, 1, 1], "a", "b"))))
    assert "log_probability" not in found
    assert found["bits_per_byte"] == pytest.approx((0.25 / math.log(2), 0.5 / math.log(2)))


def test_recorded_cache_entries_are_the_bytes_of_the_last_call() -> None:
    trace = scripted_trace()
    assert values(shared_figures(compare(trace, trace)))["kv"][0] == sum(
        trace.steps[-1].cache_bytes
    )


def test_finding_says_what_b_spends_and_gains() -> None:
    first, second = run([3, 1, 2], "a", "b"), run([3, 3, 3], "a", "b", nats=-0.25)
    text = finding(compare(first, second))
    assert "same 2 tokens B takes 3.00 recursions per token, A 1.50" in text
    assert f"better, by {0.25 / math.log(2):.3f} bits" in text
    assert "diverge" not in text
    assert "layers" in finding(compare(first, plain(second)))


@pytest.mark.parametrize("other", ["X", ""])
def test_finding_without_shared_text_says_what_to_do(other: str) -> None:
    first, second = run([3, 1], "a"), run([3, 1], "X")
    if not other:
        second.tokens.clear()
    compared = compare(first, second)
    assert "share no text" in finding(compared)
    assert piece_table(compared).shape[1] == 10
    assert joint_depths(compared).table.empty
    assert surprise_differences(compared).table.empty


def test_figures_are_written_with_signs_and_units() -> None:
    figures = [
        Figure("flops", (2e6, 1e6), (3, 4)),
        Figure("bits_per_byte", (1.0, None), (9, 9), "bytes"),
    ]
    table = figure_table(figures)
    assert table["B − A"].tolist() == ["−1.00 MFLOP (−50%)", "–"]
    assert table["n"].tolist() == ["3 / 4 tokens", "9 bytes"]
    assert raw_table(figures)["difference"][0] == -1e6


def test_names_tell_the_runs_apart() -> None:
    first, second = scripted_trace(), scripted_trace()
    second.header.kv_strategy = "shared"
    assert run_names(compare(first, second)) == (
        "scripted · causal routing, threshold 0.50 · recursion-wise cache",
        "scripted · causal routing, threshold 0.50 · keys and values shared by all recursions",
    )


@pytest.mark.parametrize(
    ("routing", "expected"),
    [
        (
            {"name": "causal", "thresholds": [0.5, 0.25, 0.75]},
            "causal routing, threshold 0.25 / 0.75",
        ),
        (
            {"name": "causal", "thresholds": [0.5, 0.25, 0.75], "max_depth": 2},
            "causal routing, at most depth 2, threshold 0.25",
        ),
        ({"name": "fixed", "gate": "open", "depth": 2}, "fixed depth 2, open gate"),
        ({"name": "top_k", "gate": "learned"}, "top-k routing (sees the future)"),
        ({"name": "none", "gate": "none"}, "no router"),
    ],
)
def test_rule_in_words(routing: dict[str, Any], expected: str) -> None:
    assert rule_text(replace(scripted_header(), routing=routing)) == expected


def test_chart_of_depths_counts_every_piece_once() -> None:
    compared = compare(run([3, 1, 2, 2], "a", "b", "c"), run([3, 2, 2, 1], "a", "b", "c"))
    chart = joint_depths(compared)
    assert chart.table["num_pieces"].sum() == 3
    assert chart.finding == "Of 3 segments, B spends as much as A on 1, less on 1 and more on 1."
    cells = json.loads(chart.figure.to_json())["data"][0]["text"]
    assert cells == [["", "1"], ["1", "1"]]


def test_chart_of_surprise_names_the_largest_difference() -> None:
    first, second = run([3, 1, 2], "a", "b"), run([3, 1, 2], "a", "b")
    second.tokens[2].log_probability = -0.5 - 2 * math.log(2)
    chart = surprise_differences(compare(first, second))
    assert chart.finding == (
        "B predicts 0 of 2 segments better, A 1. The largest difference is +2.0 bits, at “b”."
    )
    assert chart.table["surprise_difference"].tolist() == pytest.approx([0, 2])


def trained(sha256: str, num_tokens: int | None) -> CheckpointInfo:
    provenance = {} if num_tokens is None else {"num_tokens": num_tokens}
    return CheckpointInfo("name", Path("folder"), sha256, {}, provenance, {}, 0)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((10_010_624, 30_007_296), "A was trained on 10.0M tokens, B on 30.0M"),
        ((5, 5), ""),
        ((5, None), ""),
    ],
)
def test_unequal_training_is_pointed_out(counts: tuple[int | None, ...], expected: str) -> None:
    first, second = run([3, 1], "a"), run([3, 1], "a")
    second.header.checkpoint_sha256 = "cd" * 32
    infos = [
        trained(side.header.checkpoint_sha256, count)
        for side, count in zip((first, second), counts, strict=True)
    ]
    assert training_note(compare(first, second), infos).startswith(expected)
    assert bool(training_note(compare(first, second), infos)) == bool(expected)
