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


@pytest.mark.parametrize("values", [range(10), {f"number {value}": value for value in range(10)}])
def test_thinned_parameters_are_all_there_and_the_rest_is_slow(values):
    parameters = thinned(values, every=4)
    slow = [[mark.name for mark in parameter.marks] == ["slow"] for parameter in parameters]
    assert [parameter.values for parameter in parameters] == [(value,) for value in range(10)]
    assert slow == [place not in (0, 4, 8) for place in range(10)]
    if isinstance(values, dict):
        assert [parameter.id for parameter in parameters] == list(values)
