"""What the value of a dataclass field must be, declared with the field and checked from there.

    tokens: int = field(default=0, metadata=must("not be negative", lambda value: value >= 0))

A rule is words, which follow "must" in messages, and a test. One that depends on another record, such as a trace's
header, is declared by `must_fit`.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

from mor_core.common.json_checks import shorten

_RULE = "rule"


@dataclasses.dataclass(frozen=True)
class Rule:
    """Words and a test.

    Attributes:
        words: what follows "must", given the record that the value must fit.
        holds: whether a value is right; it may raise a ValueError that says what is wrong inside.
        needs_other: whether `holds` is given the record that the value must fit, too.
    """

    words: Callable[[Any], str]
    holds: Callable[..., bool]
    needs_other: bool


def must(words: str, holds: Callable[[Any], bool]) -> dict[str, Any]:
    """Return the metadata of a field whose value must be something by itself."""
    return {_RULE: Rule(lambda _: words, holds, needs_other=False)}


def must_fit(words: Callable[[Any], str], holds: Callable[[Any, Any], bool]) -> dict[str, Any]:
    """Return the metadata of a field whose value must fit another record."""
    return {_RULE: Rule(words, holds, needs_other=True)}


def check_fields(
    record: type[Any], values: Mapping[str, Any], where: str, other: Any = None
) -> None:
    """Check values by the rules of a dataclass's fields.

    Args:
        record: the dataclass.
        values: by field.
        where: what precedes a field's name in messages, such as `header.`.
        other: the record that the values must fit.

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
    """Return the fields of a dataclass that have a rule, in order, with it."""
    fields = dataclasses.fields(record)
    return tuple((field.name, field.metadata[_RULE]) for field in fields if _RULE in field.metadata)


ABOVE_ZERO = must("be above 0", lambda value: value > 0)
AT_LEAST_ONE = must("be at least 1", lambda value: value >= 1)
NOT_NEGATIVE = must("not be negative", lambda value: value >= 0)
SHARE = must("lie between 0 and 1", lambda value: 0 <= value <= 1)
