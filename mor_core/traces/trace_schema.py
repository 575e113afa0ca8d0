"""Checks plain data by the rules that the records of `trace.py` declare, and returns a trace.

Invalid data is refused with the field, the rule and the value. Rules for a single field are declared with the field;
rules between fields are checked here. Imports no torch.
"""

from dataclasses import MISSING, fields
from typing import Any

from mor_core.common.field_rules import check_fields
from mor_core.common.json_checks import is_count, is_number, shorten
from mor_core.model.router_types import RouterTraits, router_traits
from mor_core.traces.trace import (
    LENS_VERSION,
    TRACE_SCHEMA,
    TRACE_VERSION,
    Alternative,
    CacheSlot,
    StepRecord,
    TokenRecord,
    Trace,
    TraceHeader,
)
from mor_core.traces.trace_rules import ADDED_LATER


class TraceError(ValueError):
    """The data is not a valid trace; the message says what is wrong and where."""


def trace_from_dict(data: Any) -> Trace:
    """Check plain data and return the trace.

    Raises:
        TraceError: names the field, the rule and the value.
    """
    if not isinstance(data, dict) or data.get("schema") != TRACE_SCHEMA:
        raise TraceError(f'this is not a trace: "schema" must be "{TRACE_SCHEMA}"')
    if data.get("version") != TRACE_VERSION:
        raise TraceError(
            f"version must be {TRACE_VERSION}, got {shorten(data.get('version'))}; "
            "record the run again with this release, or open it with the one that wrote it"
        )
    try:
        header = _header(_expect(data.get("header"), dict, "header"))
        tokens = _expect(data.get("tokens"), list, "tokens")
        steps = _expect(data.get("steps"), list, "steps")
        return Trace(
            header,
            [_token(token, index, header) for index, token in enumerate(tokens)],
            [
                _read(StepRecord, step, f"steps[{index}]", header)
                for index, step in enumerate(steps)
            ],
        )
    except TraceError:
        raise
    except ValueError as error:
        raise TraceError(str(error)) from error


def _expect(value: Any, kind: type, where: str) -> Any:
    if not isinstance(value, kind):
        raise TraceError(f"{where} must be {kind.__name__}, got {type(value).__name__}")
    return value


def _read(record: type[Any], data: Any, where: str, header: TraceHeader | None = None) -> Any:
    """Check plain data by a record's rules, and return the record."""
    if _expect(data, dict, where).keys() != _FIELDS[record]:
        data = _with_later_fields(record, data, where)
    check_fields(record, data, f"{where}.", header)
    return record(**data)


_FIELDS = {
    record: {entry.name for entry in fields(record)}
    for record in (TraceHeader, RouterTraits, CacheSlot, TokenRecord, Alternative, StepRecord)
}


def _with_later_fields(record: type[Any], data: dict[str, Any], where: str) -> dict[str, Any]:
    """Add the fields that an older file lacks; refuse any other missing or unknown field."""
    later = {
        entry.name: entry for entry in fields(record) if ADDED_LATER.keys() <= entry.metadata.keys()
    }
    missing = sorted(_FIELDS[record] - data.keys() - later.keys())
    extra = sorted(data.keys() - _FIELDS[record])
    if missing or extra:
        raise TraceError(f"{where} has missing fields {missing} and unknown fields {extra}")
    defaults = {
        name: entry.default if entry.default_factory is MISSING else entry.default_factory()
        for name, entry in later.items()
    }
    return defaults | data


def _header(data: dict[str, Any]) -> TraceHeader:
    header: TraceHeader = _read(TraceHeader, data, "header")
    header.cache_slots = [
        _read(CacheSlot, slot, f"header.cache_slots[{index}]", header)
        for index, slot in enumerate(header.cache_slots)
    ]
    if "router" in data:
        header.router = _read(RouterTraits, data["router"], "header.router", header)
    else:
        header.router = router_traits(header.config | {"num_recursions": header.num_recursions})
    _check_routing(header)
    version = header.lens.get("version")
    known = not header.lens or version == LENS_VERSION
    rule = (
        f"must be {LENS_VERSION}: open the run with the release that wrote it, or record it again"
    )
    _check(known, f"header.lens.version {rule}", version)
    return header


def _check_routing(header: TraceHeader) -> None:
    """Check the settings that readers compute with: thresholds, `max_depth`, and the capacity factors."""
    thresholds = header.routing.get("thresholds")
    right = thresholds is None or (
        isinstance(thresholds, list)
        and len(thresholds) in (1, header.num_recursions)
        and all(is_number(score) and 0 < score < 1 for score in thresholds)
    )
    rule = f"must be one number between 0 and 1, or {header.num_recursions} of them"
    _check(right, f"header.routing.thresholds {rule}", thresholds)
    max_depth = header.routing.get("max_depth")
    _check(
        max_depth is None or (is_count(max_depth) and 1 <= max_depth <= header.num_recursions),
        f"header.routing.max_depth must be null or 1 to {header.num_recursions}",
        max_depth,
    )
    factors = header.config.get("capacity_factors")
    known = isinstance(factors, list) and bool(factors) and all(map(is_number, factors))
    _check(
        factors is None or known, "header.config.capacity_factors must be null or numbers", factors
    )


def _token(data: Any, index: int, header: TraceHeader) -> TokenRecord:
    where = f"tokens[{index}]"
    token: TokenRecord = _read(TokenRecord, data, where, header)
    _check(token.position == index, f"{where}.position must be {index}", token.position)
    token.alternatives = _alternatives(token.alternatives, f"{where}.alternatives")
    token.lens = _lens(token, where, header)
    return token


def _lens(token: TokenRecord, where: str, header: TraceHeader) -> list[list[Alternative]]:
    """Check a token's early exits: either none, or a list of candidates for each recursion that it took."""
    exits = token.lens
    taken = 0 if token.recursion_depth is None or not header.lens else max(1, token.recursion_depth)
    rule = (
        f"must be empty or {taken} lists of candidates, one for each recursion that the token took"
    )
    _check(len(exits) in (0, taken), f"{where}.lens {rule}", exits)
    return [_alternatives(choices, f"{where}.lens") for choices in exits]


def _alternatives(choices: list[Any], where: str) -> list[Alternative]:
    return [_read(Alternative, choice, where) for choice in choices]


def _check(holds: bool, rule: str, value: Any) -> None:
    if not holds:
        raise TraceError(f"{rule}, got {shorten(value)}")
