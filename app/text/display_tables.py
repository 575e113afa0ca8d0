"""Translates a table's headings and values into the viewer's language; files stay untranslated. Pure."""

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
    """Return the heading of each column."""
    return {str(name): column_label(str(name)) for name in table.columns}


def number_format(column: pd.Series) -> str | None:
    """Return a column's number format for Streamlit: `localized` for integers, else a printf pattern of four digits.

    A column without numbers gives `None`.
    """
    if pd.api.types.is_bool_dtype(column) or not pd.api.types.is_numeric_dtype(column):
        return None
    sizes = column.dropna().abs()
    if (sizes % 1 == 0).all():
        return "localized"
    typical = sizes[sizes > 0].median()
    return f"%.{min(max(3 - math.floor(math.log10(typical)), 0), 6)}f"


def values(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with names from `mor_core` in the viewer's language; unknown values stay."""
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
    # column: translates its values
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
