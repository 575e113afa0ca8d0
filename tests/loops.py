"""One test for many like values, with one list of what is wrong; and few of many seeds unless all are asked for."""

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest

Check = Callable[..., None]


def for_each(
    values: Iterable[Any], name: Callable[[Any], object] = str
) -> Callable[[Check], Check]:
    """Turn a test whose first argument is a value into one test of all values.

    Where a check is quick, as of a file's text, pytest spends more on a parameter than the check takes. Unlike in a
    plain loop, what is wrong with one value does not hide the next.

    Args:
        values: what the first argument becomes, one after the other; at least one.
        name: how a value is called in the list of failures.
    """
    values = list(values)

    def decorate(check: Check) -> Check:
        @functools.wraps(check)
        def test(**fixtures: Any) -> None:
            assert values, "nothing to check"
            failures = []
            for value in values:
                try:
                    check(value, **fixtures)
                except Exception as error:  # an error is as much a finding as a failed assertion
                    failures.append(f"{name(value)}: {type(error).__name__}: {error}")
            assert not failures, f"{len(failures)} of {len(values)}:\n" + "\n".join(failures)

        signature = inspect.signature(check)
        _, *others = signature.parameters.values()
        test.__signature__ = signature.replace(
            parameters=others
        )  # pytest passes the fixtures alone
        return test

    return decorate


def thinned(values: Iterable[Any], every: int) -> list[Any]:
    """Return parameters of which every so many-th runs by default; the others are marked slow.

    The gate and `make test-all` run them all.

    Args:
        values: the parameters; of a mapping its values, called by its keys.
        every: how many parameters there are for each that runs by default.
    """
    named = values.items() if isinstance(values, Mapping) else ((None, value) for value in values)
    return [
        pytest.param(value, id=name, marks=pytest.mark.slow if place % every else ())
        for place, (name, value) in enumerate(named)
    ]
