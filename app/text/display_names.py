"""The library's own names in the viewer's language: rules, gates, cache slots, titles of runs, columns.

Pure. A name without an entry stays as it is.
"""

import re
from collections.abc import Mapping

from app.text.words import entries, say
from mor_core.traces.gallery import slug_of

_SLOT = re.compile(r"(Prelude|Shared|Coda) L?(\d+)")
_EXPERIMENT = re.compile(
    r"An experiment: kv_strategy (\w+), where the model was trained with (\w+)\."
)
_NUMBERED = re.compile(r"(.+)_r?(\d+)")


def named(key: str, otherwise: str, **values: object) -> str:
    """Return the text of a key, or another text if there is no such entry."""
    return say(key, **values) if key in entries() else otherwise


def rule_label(rule: str) -> str:
    """Write a routing rule such as `causal` or `fixed:2`."""
    name, _, depth = rule.partition(":")
    if depth:
        return named(f"names.rule_{name}_to", rule, depth=depth)
    return named(f"names.rule_{name}", rule)


def routing_label(routing: Mapping[str, object]) -> str:
    """Write the rule of a run, as its header describes it, with its maximum depth if it has one."""
    rule = rule_label(str(routing.get("name", "?")))
    most = routing.get("max_depth")
    return rule if most is None else say("names.capped", rule=rule, depth=most)


def gate_label(gate: str) -> str:
    """Write what scales the block's output: `learned`, `open` or `none`."""
    return named(f"names.gate_{gate}", gate)


def slot_label(label: str) -> str:
    """Write the label of a cache slot; those of single recursions, such as `R2 L1`, are the same in all languages."""
    found = _SLOT.fullmatch(label)
    return say(f"strip.slot_{found[1].lower()}", number=found[2]) if found else label


def run_title(title: str) -> str:
    """Write the title of a run: of a preset or of the gallery, or the one that its user gave it."""
    return named(f"gallery.{slug_of(title)}_title", title)


def run_note(title: str, note: str) -> str:
    """Write what to look for in a run of the gallery, found by its title, or the note that its user gave it.

    The library notes in English that a run is an experiment; only the experiment of this app, another cache, has words.
    """
    if found := _EXPERIMENT.fullmatch(note):
        now, trained = (named(f"frame.cache_{name}", name) for name in found.groups())
        return say("compare.experiment", now=now, trained=trained)
    return named(f"gallery.{slug_of(title)}_note", note)


def column_label(name: str) -> str:
    """Write the heading of a table's column; numbers at its end are recursions or depths."""
    key = name.replace(" ", "_")
    found = _NUMBERED.fullmatch(key)
    if f"columns.{key}" in entries() or not found:
        return named(f"columns.{key}", name)
    return named(f"columns.{found[1]}_of", name, number=found[2])
