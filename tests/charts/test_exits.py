"""Prediction depth against router depth: counted from the run's early exits, and absent where there are none."""

import math

import numpy as np
import pytest

from app.charts import exits as exits_charts
from mor_core.traces.trace import Alternative, Trace
from tests.scripted import DEPTHS, scripted_trace

PREDICTIONS = (1, 1, 2, 1, 2, 3)  # of the scripted depths 2, 1, 3, 1, 2, 3


@pytest.fixture
def trace() -> Trace:
    trace = scripted_trace()
    for token, depth, prediction in zip(trace.tokens, DEPTHS, PREDICTIONS, strict=True):
        other, final = Alternative(1, "a", 0.4), Alternative(2, "b", 0.6)
        token.lens = [[other if r < prediction else final] for r in range(1, depth + 1)]
    return trace


def test_the_fixture_says_what_it_is_to_say(trace):
    assert tuple(token.prediction_depth for token in trace.tokens) == PREDICTIONS


def test_cells_count_content_tokens_and_what_cannot_be_is_empty(trace):
    chart = exits_charts.prediction_against_router(trace)
    cells = np.array(chart.figure.data[0].z, dtype=float)
    assert cells[0, 0] == 2
    assert cells[1].tolist()[:2] == [0, 1], "the first token is special and left out"
    assert cells[2].tolist() == [0, 1, 1]
    assert [math.isnan(cells[row, column]) for row, column in ((0, 1), (0, 2), (1, 2))] == [
        True
    ] * 3
    assert chart.table["num_tokens"].sum() == len(DEPTHS) - 1
    assert chart.table["share"].sum() == pytest.approx(1)


def test_the_finding_counts_what_was_not_needed(trace):
    finding = exits_charts.prediction_against_router(trace).finding
    assert "For 1 of 5 content tokens (20%)" in finding
    assert (
        "Of the 3 tokens that took more than one recursion, 2 reach it only in the last one"
        in finding
    )


def test_a_run_without_early_exits_has_no_chart():
    assert exits_charts.prediction_against_router(scripted_trace()) is None
