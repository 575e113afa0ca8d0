"""The view of a run that a reader chose, as plain data: the same in the browser, in Python and in a link.

This file checks what browsers and links send and replaces invalid values with defaults. It holds ids and numbers, never
text.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from app.text.words import ENGLISH, entries

_METRIC = re.compile(r"([a-z]{1,30})(-[1-9]\d?)?")
_UNIT = re.compile(r"token|word|line")
_PINS = re.compile(r"[A-E]\d{1,6}(\.[A-E]\d{1,6}){0,4}")
_WINDOW = re.compile(r"(\d{1,6})-(\d{1,6})")


@dataclass(frozen=True)
class ViewState:
    """The chosen view of a run.

    Attributes:
        metric: name of the metric that the tokens show, such as `depth`; `score-2` is the score before recursion 2.
        granularity: `token`, `word` or `line`.
        pins: letters and positions of the pinned tokens, such as `A5.B12`.
        window: half-open range of the positions in the heatmaps; `None` if they show the whole run.
    """

    metric: str = "depth"
    granularity: str = "token"
    pins: str = ""
    window: tuple[int, int] | None = None

    @property
    def parameters(self) -> dict[str, str]:
        """The link's parameters, without those that have their default value."""
        named = {
            "metric": self.metric if self.metric != "depth" else "",
            "by": self.granularity if self.granularity != "token" else "",
            "pins": self.pins,
            "window": f"{self.window[0]}-{self.window[1]}" if self.window else "",
        }
        return {name: value for name, value in named.items() if value}


NAMES = ("metric", "by", "pins", "window")


def view_of(found: Mapping[str, object]) -> ViewState:
    """Read the view that the browser reports."""
    window = found.get("window")
    pair = window if isinstance(window, list | tuple) and len(window) == 2 else ()
    return view_from(
        {
            "metric": str(found.get("metric")),
            "by": str(found.get("granularity")),
            "pins": str(found.get("pins")),
            "window": "-".join(str(int(part)) for part in pair if isinstance(part, int | float)),
        }
    )


def view_from(parameters: Mapping[str, str]) -> ViewState:
    """Read the view in a link's parameters."""
    window = _WINDOW.fullmatch(parameters.get("window", ""))
    span = (int(window[1]), int(window[2])) if window else None
    return ViewState(
        metric=_metric(parameters.get("metric", "")),
        granularity=_known(_UNIT, parameters.get("by"), "token"),
        pins=_known(_PINS, parameters.get("pins"), ""),
        window=span if span and span[0] < span[1] else None,
    )


def _metric(value: str) -> str:
    """Return the metric if it has a name in the strip's words, else the default.

    Only a metric with `{number}` in its name, such as the router score, exists once per recursion.
    """
    found = _METRIC.fullmatch(value)
    texts = entries().get(f"strip.metric_{found[1]}") if found else None
    is_metric = found and texts and (not found[2] or "{number}" in texts[ENGLISH])
    return value if is_metric else "depth"


def _known(pattern: re.Pattern[str], value: str | None, otherwise: str) -> str:
    return value if value is not None and pattern.fullmatch(value) else otherwise
