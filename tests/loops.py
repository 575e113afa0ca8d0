"""One test that checks many values and lists all failures, and parameters of which only a part runs by default."""

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

    For quick checks, such as of a file's text, pytest's overhead per parameter exceeds the check. Unlike in a plain
    loop, one failure does not hide the next.

    Args:
        values: the values of the first argument; at least one.
        name: returns a value's name in the list of failures.
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
                except Exception as error:  # an error counts as a failure like a failed assertion
                    failures.append(f"{name(value)}: {type(error).__name__}: {error}")
            assert not failures, f"{len(failures)} of {len(values)}:\n" + "\n".join(failures)

        signature = inspect.signature(check)
        _, *others = signature.parameters.values()
        test.__signature__ = signature.replace(parameters=others)  # pytest passes only the fixtures
        return test

    return decorate


def thinned(values: Iterable[Any], every: int) -> list[Any]:
    """Return parameters of which every `every`-th runs by default; the others are marked slow.

    The gate and `make test-all` run all of them.

    Args:
        values: the parameters, or a mapping from their names.
        every: distance between two parameters that run by default.
    """
    named = values.items() if isinstance(values, Mapping) else ((None, value) for value in values)
    return [
        pytest.param(value, id=name, marks=pytest.mark.slow if index % every else ())
        for index, (name, value) in enumerate(named)
    ]
