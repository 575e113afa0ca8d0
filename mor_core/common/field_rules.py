"""Validation rules for dataclass fields: declared in the field's metadata and checked by `check_fields`.

    tokens: int = field(default=0, metadata=must("not be negative", lambda value: value >= 0))

A rule consists of words, which follow "must" in error messages, and a test. `must_fit` declares a rule that also
depends on another record, such as a trace's header.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

from mor_core.common.json_checks import shorten

_RULE = "rule"


@dataclasses.dataclass(frozen=True)
class Rule:
    """One validation rule.

    Attributes:
        words: returns the text after "must", given the other record.
        holds: returns whether a value is valid; it may raise a ValueError that says what is wrong inside the value.
        needs_other: whether `holds` takes the other record as a second argument.
    """

    words: Callable[[Any], str]
    holds: Callable[..., bool]
    needs_other: bool


def must(words: str, holds: Callable[[Any], bool]) -> dict[str, Any]:
    """Return the metadata of a field whose rule depends on its value alone."""
    return {_RULE: Rule(lambda _: words, holds, needs_other=False)}


def must_fit(words: Callable[[Any], str], holds: Callable[[Any, Any], bool]) -> dict[str, Any]:
    """Return the metadata of a field whose rule also depends on another record."""
    return {_RULE: Rule(words, holds, needs_other=True)}


def check_fields(
    record: type[Any], values: Mapping[str, Any], where: str, other: Any = None
) -> None:
    """Check values by the rules of a dataclass's fields.

    Args:
        record: the dataclass.
        values: the values by field name.
        where: the prefix of a field's name in messages, such as `header.`.
        other: the record that `must_fit` rules depend on.

    Raises:
        ValueError: names the field, the rule and the value.
    """
    for name, rule in _rules_of(record):  # type: ignore[arg-type]  # a class is hashable
        value = values[name]
        try:
            right = rule.holds(value, other) if rule.needs_other else rule.holds(value)
        except ValueError as error:
            raise ValueError(f"{where}{name}{error}") from error
        if not right:
            raise ValueError(f"{where}{name} must {rule.words(other)}, got {shorten(value)}")


@functools.cache
def _rules_of(record: Any) -> tuple[tuple[str, Rule], ...]:
    """Return the name and the rule of each field that has one, in the order of the fields."""
    fields = dataclasses.fields(record)
    return tuple((field.name, field.metadata[_RULE]) for field in fields if _RULE in field.metadata)


ABOVE_ZERO = must("be above 0", lambda value: value > 0)
AT_LEAST_ONE = must("be at least 1", lambda value: value >= 1)
NOT_NEGATIVE = must("not be negative", lambda value: value >= 0)
SHARE = must("lie between 0 and 1", lambda value: 0 <= value <= 1)
