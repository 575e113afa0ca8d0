"""Statistics of depth: small tables whose answers are known, and the record against the evaluation."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from mor_core import RoutingRule
from mor_core.evaluation import depth_statistics as statistics
from mor_core.evaluation.depth_record import record_depths
from mor_core.evaluation.evaluation import evaluate
from tests.conftest import STORY

DOCUMENTS = [STORY, "The rabbit slept.", STORY[40:200] + " é漢"]


def table(**columns):
    return pd.DataFrame(columns)


@pytest.fixture(scope="module")
def recorded(tiny_loaded):
    return record_depths(tiny_loaded, DOCUMENTS, RoutingRule.causal())


def test_a_record_says_what_the_evaluation_says(tiny_loaded, recorded):
    found = evaluate(tiny_loaded, DOCUMENTS, RoutingRule.causal())
    for number, depths in enumerate(found.token_depths):
        rows = recorded[recorded["document"] == number]
        assert rows["position"].tolist() == list(range(1, len(depths) + 1))
        assert rows["depth"].tolist() == depths
        assert rows["surprisal"].isna().tolist() == [False] * (len(depths) - 1) + [True]
    # The record leaves out the first token, whose surprisal belongs to the document start.
    gaps = found.nll_nats - recorded.groupby("document")["surprisal"].sum()
    assert (gaps > 0).all()
    assert (gaps < 2 * math.log(tiny_loaded.model.config.vocab_size)).all()


def test_a_prediction_depth_never_lies_behind_the_depth(recorded):
    assert (recorded["prediction_depth"] <= recorded["depth"].clip(lower=1)).all()
    assert recorded["prediction_depth"].min() == 1


def test_logits_are_empty_behind_the_depth(recorded):
    for recursion in (2, 3):
        judged = recorded[f"logit_{recursion}"].notna()
        assert (judged == (recorded["depth"] >= recursion - 1)).all()


def test_classes_hold_function_words_as_a_whole():
    rows = table(
        depth=[1, 2, 3, 1], token_class=["determiner", "pronoun", "other word", "punctuation"]
    )
    found = statistics.by_class(rows, 3)
    assert list(found) == ["function word", "content word", "determiner", "pronoun", "punctuation"]
    assert found["function word"] == {"num_tokens": 2, "mean_depth": 1.5, "shares": [0.5, 0.5, 0.0]}
    assert found["content word"]["mean_depth"] == 3


def test_positions_double():
    found = statistics.by_position(table(window_position=[1, 2, 3, 4, 7], depth=[1, 1, 2, 2, 1]), 2)
    assert [(part["first"], part["last"], part["num_tokens"]) for part in found] == [
        (1, 1, 1),
        (2, 3, 2),
        (4, 7, 2),
    ]
    assert found[1]["mean_depth"] == 1.5


def test_surprisal_groups_are_of_equal_size_and_leave_the_unknown_out():
    surprisal = [*np.linspace(0, 4, 10), float("nan")]
    rows = table(surprisal=surprisal, depth=[1] * 5 + [2] * 5 + [1])
    found = statistics.by_surprisal(rows, 2)
    assert [group["num_tokens"] for group in found["groups"]] == [2] * 5
    assert [group["mean_depth"] for group in found["groups"]] == [1, 1, 1.5, 2, 2]
    # Ranks 1 to 10 against 3 and 8, five times each: covariance 6.25, variances 8.25 and 6.25.
    assert found["rank_correlation"] == pytest.approx(6.25 / math.sqrt(8.25 * 6.25))


def test_variance_explained_by_identity_is_all_or_nothing_at_the_ends():
    types = [1, 1, 1, 2, 2, 2]
    whole = statistics.variance_explained_by_token(table(token_id=types, depth=[1, 1, 1, 3, 3, 3]))
    assert whole == {"num_types": 2, "eta_squared": 1.0, "epsilon_squared": 1.0}
    # Means alike: SST = SSW = 4, so MSW = 4 / (6 - 2) = 1 and epsilon squared = (0 - 1) / 4.
    none = statistics.variance_explained_by_token(
        table(token_id=[1, 1, 2, 2, 1, 2], depth=[1, 3, 1, 3, 2, 2])
    )
    assert none["eta_squared"] == pytest.approx(0)
    assert none["epsilon_squared"] == pytest.approx(-1 / 4)


def test_chance_is_taken_out_of_the_explained_variance():
    draws = np.random.default_rng(0)
    rows = table(token_id=draws.integers(0, 400, 1200), depth=draws.integers(1, 4, 1200))
    found = statistics.variance_explained_by_token(rows)
    assert found["eta_squared"] > 0.25
    assert abs(found["epsilon_squared"]) < 0.1


def test_depth_against_prediction_is_a_table_of_counts():
    found = statistics.against_prediction(
        table(depth=[1, 2, 2, 3], prediction_depth=[1, 1, 2, 1]), 3
    )
    assert found["counts"] == [[1, 0, 0], [1, 1, 0], [1, 0, 0]]
    assert found["equal_share"] == 0.5


def test_a_dead_position_is_one_where_no_token_reached_the_last_recursion():
    assert (
        statistics.dead_token_ratio(
            table(window_position=[1, 1, 2, 2, 3, 4], depth=[1, 3, 2, 2, 3, 1]), 3
        )
        == 0.5
    )


def test_entropies_by_hand():
    rows = table(logit_1=[0.0, math.log(3)], logit_2=[math.nan, -math.log(3)])
    quarter = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    found = statistics.router_entropy(rows, over_depths=False)
    assert found == pytest.approx([(math.log(2) + quarter) / 2, quarter])
    rows = table(logit_1=[0.0, 5.0], logit_2=[0.0, 5.0 - math.log(3)])
    found = statistics.router_entropy(rows, over_depths=True)
    assert found == pytest.approx([(math.log(2) + quarter) / 2])


def test_a_router_that_scored_no_token_has_no_entropy():
    rows = table(logit_1=[1.0], logit_2=[math.nan])
    assert statistics.router_entropy(rows, over_depths=False)[1] is None


def test_violation_of_load():
    assert statistics.load_violation(
        table(depth=[1, 2, 3])["depth"].to_frame(), 3
    ) == pytest.approx(0)
    assert statistics.load_violation(table(depth=[1, 1, 1, 2]), 3) == pytest.approx(1.25)


def test_types_that_are_rare_are_left_out(monkeypatch):
    monkeypatch.setattr(statistics, "MIN_OCCURRENCES", 2)
    found = statistics.type_depths(table(token_id=[5, 5, 6], depth=[1, 2, 3]))
    assert found.to_dict() == {5: 1.5}


def test_rank_correlation_by_hand():
    # Without ties: 1 - 6 sum d^2 / (n (n^2 - 1)), here with d = 0, 1, 1, 0.
    assert statistics.rank_correlation([1, 2, 3, 9], [0.1, 0.5, 0.4, 7.0]) == pytest.approx(0.8)
    assert statistics.rank_correlation([1, 1, 1], [1, 2, 3]) is None


def test_everything_is_plain_data(recorded):
    found = statistics.describe_depths(recorded, 3)
    json.dumps(found, allow_nan=False)
    assert found["num_documents"] == 3
    assert sum(found["shares_per_depth"]) == pytest.approx(1)
