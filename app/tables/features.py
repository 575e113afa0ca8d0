"""What a visualiser of this kind can be expected to do, and where this one does it: data, and a table. Pure.

The words of each feature, and of how or why not, are in `words/features.toml` under the same name.
"""

from typing import Literal

import pandas as pd

from app.text.words import say

State = Literal["done", "partly", "missing"]
Place = tuple[State, tuple[str, ...]]

FEATURES: dict[str, Place] = {
    "spans": ("done", ("live", "explore", "compare", "learn")),
    "grid": ("done", ("live", "explore")),
    "compute": ("done", ("live", "explore", "compare", "learn")),
    "lens": ("partly", ("explore",)),
    "threshold": ("done", ("live", "explore", "router")),
    "cache": ("done", ("live", "explore", "kv_cache", "learn")),
    "hover": ("done", ("live", "explore", "router", "kv_cache", "compare", "efficiency")),
    "pin": ("done", ("live", "explore", "compare")),
    "pins": ("done", ("live", "explore")),
    "side_by_side": ("done", ("compare", "live")),
    "intervene": ("done", ("live", "explore", "compare", "router")),
    "streaming": ("done", ("live",)),
    "replay": ("done", ("live", "explore")),
    "recorded": ("done", ("live", "explore", "router", "kv_cache", "compare", "learn")),
    "link": ("partly", ("explore", "router", "kv_cache", "compare", "efficiency", "learn")),
    "data": ("done", ("live", "explore", "router", "kv_cache", "compare", "efficiency")),
    "picture": ("partly", ("live", "explore")),
    "presets": ("done", ("live", "explore")),
    "lessons": ("done", ("learn",)),
    "action": ("done", ("learn",)),
    "keys": ("done", ("live", "explore", "compare", "learn")),
    "full_screen": ("partly", ("live", "explore", "router", "kv_cache", "compare", "efficiency")),
    "themes": ("done", ()),
    "colour_blind": ("done", ()),
    "granularity": ("partly", ("explore",)),
    "bytes": ("done", ("live", "explore", "compare")),
    "long": ("done", ("live", "explore", "router", "kv_cache")),
    "offline": ("done", ()),
    "badge": ("done", ("live", "explore", "router", "kv_cache", "compare")),
    "honesty": ("done", ()),
    "tests": ("done", ()),
    "own_checkpoint": ("done", ("checkpoints",)),
    "install": ("done", ()),
}


def feature_table() -> pd.DataFrame:
    """Return one row a feature: whether it is there, on which pages, and how, or why not."""
    names = ("feature", "state", "pages", "how")
    titles = [say(f"features.column_{name}") for name in names]
    rows = [
        (
            say(f"features.{name}"),
            say(f"features.state_{state}"),
            _pages(pages),
            say(f"features.{name}_how"),
        )
        for name, (state, pages) in FEATURES.items()
    ]
    return pd.DataFrame(rows, columns=titles)


def finding() -> str:
    """Say how many features are there."""
    states: list[str] = [state for state, _ in FEATURES.values()]
    return say(
        "features.finding",
        total=len(states),
        **{name: states.count(name) for name in ("done", "partly", "missing")},
    )


def _pages(names: tuple[str, ...]) -> str:
    if not names:
        return say("features.everywhere")
    return say("features.separator").join(say(f"frame.page_{name}") for name in names)
