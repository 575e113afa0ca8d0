"""Checks for JSON from untrusted files: bounded numbers, valid Unicode text, limited nesting.

JSON itself allows integers of any size, 1e999 and lone surrogates. Unchecked, these fail later, far from their source.
"""

import math
from typing import Any

MAX_INTEGER = 2**63 - 1
MAX_NESTING = 16


def check_plain(value: Any, where: str, nesting: int = MAX_NESTING) -> None:
    """Refuse data that cannot be computed with, shown, or written back as JSON.

    Raises:
        ValueError: names the place, the rule and the value.
    """
    if isinstance(value, str):
        if not is_text(value):
            raise ValueError(f"{where} must be valid Unicode text, got a lone surrogate")
    elif isinstance(value, dict | list):
        if nesting == 0:
            raise ValueError(f"{where} must be nested at most {MAX_NESTING} deep")
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        for name, part in inner:
            if isinstance(name, str) and not is_text(name):
                raise ValueError(
                    f"{where} must have names of valid Unicode text, got a lone surrogate"
                )
            check_plain(part, f"{where}.{name}", nesting - 1)
    elif not (value is None or isinstance(value, bool) or is_number(value)):
        raise ValueError(f"{where} must be finite and within 64 bits, got {shorten(value)}")


def is_text(value: Any) -> bool:
    """Whether this is a string that can be encoded as UTF-8."""
    if not isinstance(value, str):
        return False
    if value.isascii():  # a fast path: most text is ASCII
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_count(value: Any) -> bool:
    """Whether this is an integer of at least 0 that fits in 64 bits; booleans do not count."""
    return type(value) is int and 0 <= value <= MAX_INTEGER


def is_number(value: Any) -> bool:
    """Whether this is a finite number, not a boolean; an integer must fit in 64 bits."""
    if type(value) is int:
        return -MAX_INTEGER <= value <= MAX_INTEGER
    return type(value) is float and math.isfinite(value)


def shorten(value: Any) -> str:
    """Return a value as at most 80 characters, even an integer too large for Python to print."""
    if type(value) is int and abs(value) > MAX_INTEGER:
        return f"an integer of {value.bit_length()} bits"
    return repr(value)[:80]
