"""Rules that are declared with a field are checked from there, and messages name field, rule and value."""

from dataclasses import dataclass, field, fields

import pytest

from mor_core.common.field_rules import check_fields, must, must_fit
from mor_core.model.router_types import RouterTraits
from mor_core.traces.trace import Alternative, CacheSlot, StepRecord, TokenRecord, TraceHeader


def _is_fine(value):
    if value == "bad":
        raise ValueError(".inside must be good, got bad")
    return True


@dataclass
class Box:
    size: int = field(metadata=must("be above 0", lambda value: value > 0))
    place: int = field(
        metadata=must_fit(lambda shelf: f"be below {shelf}", lambda value, shelf: value < shelf)
    )
    inner: str = field(default="", metadata=must("be fine", _is_fine))
    free: object = None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 0}, "box.size must be above 0, got 0"),
        ({"place": 9}, "box.place must be below 5, got 9"),
        ({"inner": "bad"}, "box.inner.inside must be good, got bad"),
    ],
)
def test_a_broken_rule_is_named_with_its_field_and_value(changes, message):
    right = {"size": 1, "place": 4, "inner": "", "free": object()}
    check_fields(Box, right, "box.", 5)
    with pytest.raises(ValueError, match=f"^{message}$"):
        check_fields(Box, right | changes, "box.", 5)


@pytest.mark.parametrize(
    "record", [TraceHeader, RouterTraits, CacheSlot, TokenRecord, Alternative, StepRecord]
)
def test_every_field_of_a_trace_declares_what_it_must_be(record):
    without = {entry.name for entry in fields(record) if "rule" not in entry.metadata}
    assert without == ({"router"} if record is TraceHeader else set()), "a record of its own"
