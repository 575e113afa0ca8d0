"""The validation rules of a trace's fields (see `field_rules.py`).

Rules that depend on the run receive its header. Imports no torch.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mor_core.common.field_rules import must, must_fit
from mor_core.common.json_checks import check_plain, is_count, is_number, is_text

if TYPE_CHECKING:
    from mor_core.traces.trace import TraceHeader

MAX_RECURSIONS = 64
ADDED_LATER: dict[str, Any] = {"added_later": True}
"""Metadata of a field that older trace files may lack."""


def _are(is_one: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda values: isinstance(values, list) and all(map(is_one, values))


def _or_null(is_one: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or is_one(value)


def _is_hex(value: Any) -> bool:
    try:
        bytes.fromhex(value)
    except (TypeError, ValueError):
        return False
    return True


def _is_plain(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    check_plain(value, "")
    return True


def _is_window(value: Any) -> bool:
    return _are_counts(value) and len(value) == 2


def _is_depth(value: Any, header: "TraceHeader") -> bool:
    return value is None or (is_count(value) and value <= header.num_recursions)


def _is_recursion(value: Any, header: "TraceHeader") -> bool:
    return value is None or (is_count(value) and 1 <= value <= header.num_recursions)


def _are_scores(values: Any, header: "TraceHeader") -> bool:
    return _are_numbers_or_nulls(values) and len(values) == header.num_recursions


def _are_slots(values: Any, header: "TraceHeader") -> bool:
    return _are_counts(values) and max(values, default=-1) < len(header.cache_slots)


def _are_counts_of_slots(values: Any, header: "TraceHeader") -> bool:
    return _are_counts(values) and len(values) == len(header.cache_slots)


_are_counts = _are(is_count)
_are_numbers_or_nulls = _are(_or_null(is_number))

TEXT = must("be text without lone surrogates", is_text)
TEXT_OR_NULL = must("be text or null", _or_null(is_text))
HEXADECIMAL = must("be hexadecimal", _is_hex)
FLAG = must("be true or false", lambda value: isinstance(value, bool))
COUNT = must("be an integer of at least 0 within 64 bits", is_count)
COUNT_OR_NULL = must("be null or a count", _or_null(is_count))
NUMBER = must("be a number", is_number)
NUMBER_OR_NULL = must("be a number or null", _or_null(is_number))
INDICES = must("be a list of indices", _are_counts)
PLAIN = must("be a dictionary", _is_plain)
LIST = must("be a list", lambda value: isinstance(value, list))
EXITS = must(
    "be empty or lists of candidates", _are(lambda one: isinstance(one, list) and one != [])
)
WINDOWS = must("be a list of two positions each", _are(_is_window))
PHASE = must("be prefill or decode", lambda value: value in ("prefill", "decode"))
KIND = must("be generate or analyse", lambda value: value in ("generate", "analyse"))
NUM_RECURSIONS = must(
    f"be 1 to {MAX_RECURSIONS}", lambda value: is_count(value) and 1 <= value <= MAX_RECURSIONS
)
DEPTH = must_fit(lambda header: f"be null or 0 to {header.num_recursions}", _is_depth)
RECURSION = must_fit(lambda header: f"be null or 1 to {header.num_recursions}", _is_recursion)
SCORES = must_fit(lambda header: f"be {header.num_recursions} numbers or nulls", _are_scores)
SLOTS = must_fit(lambda header: f"be indices below {len(header.cache_slots)}", _are_slots)
COUNTS_OF_SLOTS = must_fit(lambda _: "be one count per slot", _are_counts_of_slots)
