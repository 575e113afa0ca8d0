"""Intervals over documents: they hold the figure, shrink with more documents, and pair what belongs together."""

import numpy as np
import pytest

from mor_core.evaluation.bootstrap import difference_interval, ratio_interval


def test_interval_of_a_mean_is_the_normal_one_for_many_documents():
    values = np.random.default_rng(1).normal(5, 2, 400)
    low, high = ratio_interval(values, np.ones(400))
    half = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half, abs=0.05)
    assert high == pytest.approx(values.mean() + half, abs=0.05)


def test_longer_documents_weigh_more():
    low, high = ratio_interval([10.0, 300.0], [10, 100])
    assert (low, high) == (1.0, 3.0)


def test_one_document_or_equal_documents_have_no_width():
    assert ratio_interval([6.0], [2]) == [3.0, 3.0]
    assert ratio_interval([6.0, 12.0], [2, 4]) == [3.0, 3.0]


def test_difference_of_runs_that_differ_by_a_constant_is_sharp():
    theirs = np.random.default_rng(2).normal(5, 2, 50)
    low, high = difference_interval(theirs + 0.1, theirs, np.ones(50))
    assert low == pytest.approx(0.1)
    assert high == pytest.approx(0.1)
