"""Names from `mor_core` in the viewer's language: routing rules, gates, cache slots, run titles, columns.

Pure. A name without an entry in the words is shown as it is.
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
    """Return the text of a key, or `otherwise` if there is no such entry."""
    return say(key, **values) if key in entries() else otherwise


def rule_label(rule: str) -> str:
    """Return the label of a routing rule such as `causal` or `fixed:2`."""
    name, _, depth = rule.partition(":")
    if depth:
        return named(f"names.rule_{name}_to", rule, depth=depth)
    return named(f"names.rule_{name}", rule)


def routing_label(routing: Mapping[str, object]) -> str:
    """Return the label of a run's routing, as in its header, with the maximum depth if there is one."""
    rule = rule_label(str(routing.get("name", "?")))
    most = routing.get("max_depth")
    return rule if most is None else say("names.capped", rule=rule, depth=most)


def gate_label(gate: str) -> str:
    """Return the label of the gate that scales the block's output: `learned`, `open` or `none`."""
    return named(f"names.gate_{gate}", gate)


def slot_label(label: str) -> str:
    """Translate the label of a cache slot; labels of a single recursion, such as `R2 L1`, stay the same."""
    found = _SLOT.fullmatch(label)
    return say(f"strip.slot_{found[1].lower()}", number=found[2]) if found else label


def run_title(title: str) -> str:
    """Return a run's title: translated for presets and gallery runs, else as its user wrote it."""
    return named(f"gallery.{slug_of(title)}_title", title)


def run_note(title: str, note: str) -> str:
    """Return a run's note: translated for gallery runs (found by title), else as its user wrote it.

    `mor_core` notes in English that a run is an experiment. This app's only experiment is another KV strategy, so only
    that note is translated.
    """
    if found := _EXPERIMENT.fullmatch(note):
        now, trained = (named(f"frame.cache_{name}", name) for name in found.groups())
        return say("compare.experiment", now=now, trained=trained)
    return named(f"gallery.{slug_of(title)}_note", note)


def column_label(name: str) -> str:
    """Return the heading of a table's column; a number at the name's end is a recursion or a depth."""
    key = name.replace(" ", "_")
    found = _NUMBERED.fullmatch(key)
    if f"columns.{key}" in entries() or not found:
        return named(f"columns.{key}", name)
    return named(f"columns.{found[1]}_of", name, number=found[2])
