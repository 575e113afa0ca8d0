"""What a reader chose to see of a run, as plain data: in the browser, in Python and in a link the same.

Whatever comes from outside is checked here; what is no choice is left aside. Holds ids and numbers, never text.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_METRIC = re.compile(r"depth|score(-[1-9]\d?)?|surprise|prediction|kept")
_UNIT = re.compile(r"token|word|line")
_PINS = re.compile(r"[A-E]\d{1,6}(\.[A-E]\d{1,6}){0,4}")
_WINDOW = re.compile(r"(\d{1,6})-(\d{1,6})")


@dataclass(frozen=True)
class ViewState:
    """What is shown of a run.

    Attributes:
        metric: that the tokens show: `depth`, `score-2` (before recursion 2), `surprise`, `prediction` or `kept`.
        granularity: `token`, `word` or `line`.
        pins: such as `A5.B12`.
        window: positions that the heatmaps show, half-open; `None` where they have room for the whole run.
    """

    metric: str = "depth"
    granularity: str = "token"
    pins: str = ""
    window: tuple[int, int] | None = None

    @property
    def parameters(self) -> dict[str, str]:
        """The same for a link; what is as at first is left out."""
        named = {
            "metric": self.metric if self.metric != "depth" else "",
            "by": self.granularity if self.granularity != "token" else "",
            "pins": self.pins,
            "window": f"{self.window[0]}-{self.window[1]}" if self.window else "",
        }
        return {name: value for name, value in named.items() if value}


NAMES = ("metric", "by", "pins", "window")


def view_of(found: Mapping[str, object]) -> ViewState:
    """Read what the browser reports."""
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
    """Read a link."""
    window = _WINDOW.fullmatch(parameters.get("window", ""))
    span = (int(window[1]), int(window[2])) if window else None
    return ViewState(
        metric=_known(_METRIC, parameters.get("metric"), "depth"),
        granularity=_known(_UNIT, parameters.get("by"), "token"),
        pins=_known(_PINS, parameters.get("pins"), ""),
        window=span if span and span[0] < span[1] else None,
    )


def _known(pattern: re.Pattern[str], value: str | None, otherwise: str) -> str:
    return value if value is not None and pattern.fullmatch(value) else otherwise
