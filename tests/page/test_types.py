"""The shapes that the browser's modules are checked against are those that Python sends."""

import re
from dataclasses import fields

import pytest

from mor_core.page.strip_files import STRIP
from mor_core.traces.events import end_event, header_event, recorded_batch, tokens_event
from mor_core.traces.trace import Alternative, CacheSlot, StepRecord, TokenRecord
from tests.scripted import scripted_header, scripted_trace

TYPES = (STRIP / "types.d.ts").read_text()
EVENTS = {
    "HeaderEvent": header_event(scripted_header()),
    "TokensEvent": tokens_event(scripted_header(), [], None, []),
    "EndEvent": end_event(None),
    "Header": header_event(scripted_header())["header"],
    "Router": header_event(scripted_header())["header"]["router"],
    "Batch": recorded_batch(scripted_trace()),
    "Status": recorded_batch(scripted_trace())["status"],
}
RECORDS = {"Token": TokenRecord, "Step": StepRecord, "Slot": CacheSlot, "Choice": Alternative}


def declared(name: str) -> list[str]:
    """Return the names of an interface's fields."""
    body = re.search(rf"^export interface {name} \{{\n(.*?)^\}}", TYPES, re.MULTILINE | re.DOTALL)
    assert body is not None, name
    return re.findall(r"^  (\w+)\??:", body[1], re.MULTILINE)


@pytest.mark.parametrize("name", EVENTS)
def test_events_have_the_declared_fields(name: str) -> None:
    assert sorted(declared(name)) == sorted(EVENTS[name])


@pytest.mark.parametrize("name", RECORDS)
def test_records_have_the_declared_fields(name: str) -> None:
    assert sorted(declared(name)) == sorted(field.name for field in fields(RECORDS[name]))
