"""Traces as files: written whole or not at all, checked field by field when read.

Imports no torch. What is not a trace is refused with the place and the rule, whoever sent it.
"""

import gzip
import json
import math
import tempfile
import zlib
from dataclasses import fields
from pathlib import Path
from typing import Any

from mor_core.trace import (
    TRACE_SCHEMA,
    TRACE_VERSION,
    Alternative,
    CacheSlot,
    StepRecord,
    TokenRecord,
    Trace,
    TraceHeader,
)

MAX_TRACE_BYTES = 64 * 2**20  # unpacked; a 2,048-token trace takes about 2 MiB
_READ_AT_ONCE = 2**20


class TraceError(ValueError):
    """A file that is not a trace, with what is wrong and where."""


def save_trace(trace: Trace, path: Path) -> None:
    """Write a trace; an older file of this name stays as it is if that fails.

    Raises:
        TraceError: the disk is full or the folder cannot be written.
    """
    path = Path(path)
    packed = pack_trace(trace)
    partial = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            partial = file.name
            file.write(packed)
        Path(partial).replace(path)
    except OSError as error:
        if partial:
            Path(partial).unlink(missing_ok=True)
        raise TraceError(
            f"{path} could not be written: {error.strerror or error}; free space or choose another folder"
        ) from error


def pack_trace(trace: Trace) -> bytes:
    """Return the bytes of a trace file, the same for the same trace."""
    text = json.dumps(
        trace_to_dict(trace), ensure_ascii=False, allow_nan=False, separators=(",", ":")
    )
    return gzip.compress(text.encode(), compresslevel=6, mtime=0)


def trace_to_dict(trace: Trace) -> dict[str, Any]:
    """Return a trace as plain data, as in the file."""
    header = vars(trace.header) | {"cache_slots": [vars(slot) for slot in trace.header.cache_slots]}
    tokens = [
        vars(token) | {"alternatives": [vars(choice) for choice in token.alternatives]}
        for token in trace.tokens
    ]
    return {
        "schema": TRACE_SCHEMA,
        "version": TRACE_VERSION,
        "header": header,
        "tokens": tokens,
        "steps": [vars(step) for step in trace.steps],
    }


def load_trace(source: Path | str | bytes) -> Trace:
    """Read a trace from a file or from its bytes.

    Raises:
        TraceError: unreadable, damaged, too large, or not what the schema says.
    """
    if isinstance(source, bytes):
        packed = source
    else:
        try:
            packed = Path(source).read_bytes()
        except OSError as error:
            raise TraceError(f"{source} could not be read: {error.strerror or error}") from error
    text = _unpack(packed)
    try:
        data = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise TraceError(f"this is no trace: its text is not JSON ({error})") from error
    return trace_from_dict(data)


def trace_from_dict(data: Any) -> Trace:
    """Check plain data and return the trace.

    Raises:
        TraceError: names the field, the rule and the value.
    """
    if not isinstance(data, dict) or data.get("schema") != TRACE_SCHEMA:
        raise TraceError(f'this is no trace: "schema" must be "{TRACE_SCHEMA}"')
    if data.get("version") != TRACE_VERSION:
        raise TraceError(
            f"version must be {TRACE_VERSION}, got {data.get('version')!r}; "
            "record the run again with this release, or open it with the one that wrote it"
        )
    header = _header(_expect(data.get("header"), dict, "header"))
    tokens = _expect(data.get("tokens"), list, "tokens")
    steps = _expect(data.get("steps"), list, "steps")
    return Trace(
        header,
        [_token(token, place, header) for place, token in enumerate(tokens)],
        [_step(step, place, header) for place, step in enumerate(steps)],
    )


def _unpack(packed: bytes) -> bytes:
    """Decompress no more than a trace may hold, whatever the file promises."""
    unpacker = zlib.decompressobj(wbits=31)
    try:
        text = unpacker.decompress(packed, MAX_TRACE_BYTES + 1)
    except zlib.error as error:
        raise TraceError("this is no trace: a trace file is gzip-compressed JSON") from error
    if len(text) > MAX_TRACE_BYTES:
        raise TraceError(
            f"a trace must unpack to at most {MAX_TRACE_BYTES} bytes; this one is larger"
        )
    if not unpacker.eof:
        raise TraceError("the trace file is cut off; copy or download it again")
    return text


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def _expect(value: Any, kind: type | tuple[type, ...], where: str) -> Any:
    # True is an int to Python, but not to a schema.
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        names = kind if isinstance(kind, tuple) else (kind,)
        wanted = " or ".join("null" if name is type(None) else name.__name__ for name in names)
        raise TraceError(f"{where} must be {wanted}, got {type(value).__name__}")
    return value


def _fill(record: type[Any], data: dict[str, Any], where: str) -> Any:
    known = _FIELDS[record]
    if data.keys() != known:
        missing, extra = sorted(known - data.keys()), sorted(data.keys() - known)
        raise TraceError(f"{where} has missing fields {missing} and unknown fields {extra}")
    return record(**data)


_FIELDS: dict[type[Any], set[str]] = {
    record: {entry.name for entry in fields(record)}
    for record in (TraceHeader, CacheSlot, TokenRecord, Alternative, StepRecord)
}


def _header(data: dict[str, Any]) -> TraceHeader:
    header: TraceHeader = _fill(TraceHeader, data, "header")
    for name in (
        "checkpoint",
        "checkpoint_sha256",
        "kv_strategy",
        "device",
        "dtype",
        "created",
        "title",
        "note",
    ):
        _expect(getattr(header, name), str, f"header.{name}")
    for name in ("num_recursions", "kv_bytes_per_entry", "full_depth_flops", "vanilla_kv_bytes"):
        if _expect(getattr(header, name), int, f"header.{name}") < 0:
            raise TraceError(f"header.{name} must not be negative, got {getattr(header, name)}")
    for name in ("config", "routing", "sampling", "versions"):
        _expect(getattr(header, name), dict, f"header.{name}")
    if header.kind not in ("generate", "analyse"):
        raise TraceError(f"header.kind must be generate or analyse, got {header.kind!r}")
    if not 1 <= header.num_recursions <= 64:
        raise TraceError(f"header.num_recursions must be 1 to 64, got {header.num_recursions}")
    _expect(header.finish_reason, (str, type(None)), "header.finish_reason")
    slots = _expect(header.cache_slots, list, "header.cache_slots")
    header.cache_slots = [
        _fill(
            CacheSlot,
            _expect(slot, dict, f"header.cache_slots[{place}]"),
            f"header.cache_slots[{place}]",
        )
        for place, slot in enumerate(slots)
    ]
    for place, window in enumerate(_expect(header.windows, list, "header.windows")):
        if not isinstance(window, list) or len(window) != 2 or not all(map(_is_count, window)):
            raise TraceError(f"header.windows[{place}] must be two positions, got {window!r}")
    _check_slots(header)
    _check_routing(header)
    return header


def _check_slots(header: TraceHeader) -> None:
    for place, slot in enumerate(header.cache_slots):
        recursion = slot.recursion
        right = (
            isinstance(slot.label, str)
            and isinstance(slot.stage, str)
            and _is_count(slot.layer)
            and (
                recursion is None
                or (_is_count(recursion) and 1 <= recursion <= header.num_recursions)
            )
        )
        rule = "must have a stage, a layer, a label, and a recursion of the model or null"
        _check(right, f"header.cache_slots[{place}] {rule}", slot)


def _check_routing(header: TraceHeader) -> None:
    """Check what readers compute with: the thresholds, and whether recursion 1 takes every token."""
    thresholds = header.routing.get("thresholds")
    right = thresholds is None or (
        isinstance(thresholds, list)
        and len(thresholds) in (1, header.num_recursions)
        and all(_is_number(score) and 0 < score < 1 for score in thresholds)
    )
    rule = f"must be one number between 0 and 1, or {header.num_recursions} of them"
    _check(right, f"header.routing.thresholds {rule}", thresholds)
    factors = header.config.get("capacity_factors")
    known = isinstance(factors, list) and bool(factors) and all(map(_is_number, factors))
    _check(
        factors is None or known, "header.config.capacity_factors must be null or numbers", factors
    )


def _token(data: Any, place: int, header: TraceHeader) -> TokenRecord:
    where = f"tokens[{place}]"
    token: TokenRecord = _fill(TokenRecord, _expect(data, dict, where), where)
    if token.position != place or isinstance(token.position, bool):
        raise TraceError(f"{where}.position must be {place}, got {token.position!r}")
    _check(
        _is_count(token.token_id), f"{where}.token_id must be a vocabulary index", token.token_id
    )
    _check(isinstance(token.text, str), f"{where}.text must be text", token.text)
    _check(isinstance(token.special, bool), f"{where}.special must be true or false", token.special)
    _check(
        _is_hex(token.token_bytes), f"{where}.token_bytes must be hexadecimal", token.token_bytes
    )
    _check(
        token.phase in ("prefill", "decode"),
        f"{where}.phase must be prefill or decode",
        token.phase,
    )
    depth = token.recursion_depth
    _check(
        depth is None or (_is_count(depth) and depth <= header.num_recursions),
        f"{where}.recursion_depth must be null or 0 to {header.num_recursions}",
        depth,
    )
    for name in ("router_logits", "router_scores"):
        values = getattr(token, name)
        right = isinstance(values, list) and len(values) == header.num_recursions
        _check(
            right and all(map(_is_number_or_null, values)),
            f"{where}.{name} must be {header.num_recursions} numbers or nulls",
            values,
        )
    slots = token.cached_slots
    _check(
        isinstance(slots, list)
        and all(_is_count(slot) and slot < len(header.cache_slots) for slot in slots),
        f"{where}.cached_slots must be indices below {len(header.cache_slots)}",
        slots,
    )
    for name in ("log_probability", "entropy", "latency_s"):
        value = getattr(token, name)
        _check(_is_number_or_null(value), f"{where}.{name} must be a number or null", value)
    choices = _expect(token.alternatives, list, f"{where}.alternatives")
    token.alternatives = [_alternative(choice, f"{where}.alternatives") for choice in choices]
    return token


def _alternative(data: Any, where: str) -> Alternative:
    choice: Alternative = _fill(Alternative, _expect(data, dict, where), where)
    right = (
        _is_count(choice.token_id)
        and isinstance(choice.text, str)
        and _is_number(choice.probability)
    )
    _check(right, f"{where} must hold token_id, text and probability", data)
    return choice


def _step(data: Any, place: int, header: TraceHeader) -> StepRecord:
    where = f"steps[{place}]"
    step: StepRecord = _fill(StepRecord, _expect(data, dict, where), where)
    _check(
        step.phase in ("prefill", "decode"), f"{where}.phase must be prefill or decode", step.phase
    )
    for name in ("first_position", "num_tokens", "active_flops"):
        value = getattr(step, name)
        _check(_is_count(value), f"{where}.{name} must be a count", value)
    _check(_is_number(step.latency_s), f"{where}.latency_s must be seconds", step.latency_s)
    for name in ("cache_entries", "cache_bytes"):
        values = getattr(step, name)
        right = isinstance(values, list) and len(values) == len(header.cache_slots)
        _check(
            right and all(map(_is_count, values)),
            f"{where}.{name} must be one count a slot",
            values,
        )
    return step


def _check(holds: bool, rule: str, value: Any) -> None:
    if not holds:
        raise TraceError(f"{rule}, got {repr(value)[:80]}")


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_number_or_null(value: Any) -> bool:
    return value is None or _is_number(value)


def _is_hex(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        bytes.fromhex(value)
    except ValueError:
        return False
    return True
