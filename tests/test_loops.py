"""Loops and thinned parameters of the tests lose nothing."""

import pytest

from tests.loops import for_each, thinned


def test_a_loop_goes_on_after_a_failure_and_lists_all():
    seen = []

    @for_each([0, 1, 2], name="value {}".format)
    def check(value, tmp_path):
        seen.append((value, tmp_path))
        assert 2 / value == 1

    with pytest.raises(AssertionError) as failed:
        check(tmp_path="a fixture")
    lines = str(failed.value).splitlines()
    assert seen == [(0, "a fixture"), (1, "a fixture"), (2, "a fixture")]
    assert lines[0].startswith("2 of 3")
    assert lines[1] == "value 0: ZeroDivisionError: division by zero"
    assert lines[2].startswith("value 1: AssertionError: ")


def test_a_loop_over_nothing_fails():
    with pytest.raises(AssertionError, match="nothing to check"):
        for_each([])(lambda value: None)()


def test_thinned_parameters_are_all_there_and_the_rest_is_slow():
    parameters = thinned(range(100), keep=4)
    kept = [value for value in parameters if isinstance(value, int)]
    slow = [value for value in parameters if not isinstance(value, int)]
    assert kept == [0, 33, 66, 99]
    assert sorted([*kept, *(value.values[0] for value in slow)]) == list(range(100))
    assert all([mark.name for mark in value.marks] == ["slow"] for value in slow)
