"""A table in the viewer's language: its headings and the library's names. Files keep the code's own. Pure."""

import math
from collections.abc import Callable

import pandas as pd

from app.text.display_names import (
    column_label,
    gate_label,
    named,
    rule_label,
    run_title,
    slot_label,
)


def headings(table: pd.DataFrame) -> dict[str, str]:
    """Return what stands above each column."""
    return {str(name): column_label(str(name)) for name in table.columns}


def number_format(column: pd.Series) -> str | None:
    """Return how a column's numbers are written: whole ones in groups, others to four digits; `None` for no numbers.

    The form is Streamlit's: `localized`, or a printf pattern.
    """
    if pd.api.types.is_bool_dtype(column) or not pd.api.types.is_numeric_dtype(column):
        return None
    sizes = column.dropna().abs()
    if (sizes % 1 == 0).all():
        return "localized"
    typical = sizes[sizes > 0].median()
    return f"%.{min(max(3 - math.floor(math.log10(typical)), 0), 6)}f"


def values(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with the library's names in the viewer's language; what is unknown stays."""
    shown = table
    for column, write in _WRITERS.items():
        if column not in table:
            continue
        before = table[column].tolist()
        after = [write(value) if isinstance(value, str) else value for value in before]
        if any(isinstance(old, str) and old != new for old, new in zip(before, after, strict=True)):
            shown = shown.assign(**{column: after})
    return shown


def _by(prefix: str) -> Callable[[str], str]:
    return lambda value: named(f"{prefix}{value.replace(' ', '_')}", value)


def _part(value: str) -> str:
    kind, _, number = value.partition(" ")
    if kind == "recursion":
        return named("efficiency.part_recursion", value, number=number)
    return _by("efficiency.part_")(value)


def _slots(value: str) -> str:
    return ", ".join(slot_label(label) for label in value.split(", "))


_WRITERS: dict[str, Callable[[str], str]] = {
    # column: how its texts are written
    "token_class": _by("classes."),
    "phase": _by("names.phase_"),
    "routing": rule_label,
    "gate": gate_label,
    "strategy": _by("efficiency.name_"),
    "how": _by("names.how_"),
    "part": _part,
    "change": _by("names.change_"),
    "verdict": _by("names.verdict_"),
    "n_of": _by("names.n_of_"),
    "figure": _by("compare.figure_"),
    "slot": slot_label,
    "kept_in_slots": _slots,
    "run": run_title,
}
