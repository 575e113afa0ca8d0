"""Reads and writes trace files: writes are atomic, and `trace_schema.py` checks what is read. Imports no torch."""

import gzip
import json
import tempfile
import zlib
from pathlib import Path
from typing import Any

from mor_core.traces.trace import TRACE_SCHEMA, TRACE_VERSION, Trace
from mor_core.traces.trace_schema import TraceError as TraceError
from mor_core.traces.trace_schema import trace_from_dict as trace_from_dict

MAX_TRACE_BYTES = 64 * 2**20  # unpacked; a 2,048-token trace takes about 2 MiB


def save_trace(trace: Trace, path: Path) -> None:
    """Write a trace; if writing fails, an existing file of this name stays unchanged.

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
    """Return the bytes of a trace file; equal traces give equal bytes."""
    text = json.dumps(
        trace_to_dict(trace), ensure_ascii=False, allow_nan=False, separators=(",", ":")
    )
    return gzip.compress(text.encode(), compresslevel=6, mtime=0)


def trace_to_dict(trace: Trace) -> dict[str, Any]:
    """Return a trace as plain data, in the form of the file."""
    header = vars(trace.header) | {
        "router": vars(trace.header.router),
        "cache_slots": [vars(slot) for slot in trace.header.cache_slots],
    }
    return {
        "schema": TRACE_SCHEMA,
        "version": TRACE_VERSION,
        "header": header,
        "tokens": [token.as_dict() for token in trace.tokens],
        "steps": [vars(step) for step in trace.steps],
    }


def load_trace(source: Path | str | bytes) -> Trace:
    """Read a trace from a file or from its bytes.

    Raises:
        TraceError: the file is unreadable, damaged, too large, or does not match the schema.
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
        raise TraceError(f"this is not a trace: its text is not JSON ({error})") from error
    return trace_from_dict(data)


def _unpack(packed: bytes) -> bytes:
    """Decompress at most `MAX_TRACE_BYTES`, so that a small malicious file cannot fill the memory."""
    unpacker = zlib.decompressobj(wbits=31)
    try:
        text = unpacker.decompress(packed, MAX_TRACE_BYTES + 1)
    except zlib.error as error:
        raise TraceError("this is not a trace: a trace file is gzip-compressed JSON") from error
    if len(text) > MAX_TRACE_BYTES:
        raise TraceError(
            f"a trace must unpack to at most {MAX_TRACE_BYTES} bytes; this one is larger"
        )
    if not unpacker.eof:
        raise TraceError("the trace file is cut off; copy or download it again")
    return text


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")
