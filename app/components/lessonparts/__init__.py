"""The lessons' two browser components: tokens to pick or show, and the bar that shows and changes the step.

The scripts write token text only as `textContent`.
"""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from app.components.component_assets import AssetComponent
from app.style.theme import depth_colours
from app.text.words import say
from mor_core.page.strip_files import script
from mor_core.traces.trace import TokenRecord

HIT, MISS, CHANGED = "hit", "miss", "changed"
_FOLDER = Path(__file__).parent


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


_tokens = AssetComponent(
    "lesson_tokens",
    html='<div class="lesson-tokens"></div>',
    css=_read("tokens.css"),
    js=script(_FOLDER / "tokens.js"),
)
_bar = AssetComponent(
    "lesson_bar",
    html='<ol class="lesson-bar"></ol>',
    css=_read("bar.css"),
    js=script(_FOLDER / "bar.js"),
)


def pick_tokens(
    tokens: Sequence[TokenRecord], *, key: str, label: str, picked: Collection[int], most: int
) -> list[int]:
    """Draw tokens without depths that can be picked by click or key; return the picked positions.

    Args:
        tokens: the candidates.
        key: the element's key.
        label: what to pick, for screen readers.
        picked: positions that are already picked.
        most: the maximum number of picks.
    """
    data = {"mode": "pick", "picked": sorted(picked), "most": most, "depths": None}
    result = _draw(tokens, key, label, data)
    run = data_id(tokens)
    found = result.picks if isinstance(result.picks, Mapping) else {}
    if found.get("run") != run:
        return sorted(picked)
    known = {token.position for token in tokens}
    return sorted(position for position in found.get("positions", []) if position in known)


def show_tokens(
    tokens: Sequence[TokenRecord],
    num_recursions: int,
    *,
    key: str,
    label: str,
    marks: Mapping[int, str] | None = None,
    shows_depths: bool = True,
) -> None:
    """Draw tokens with their depths as colours and digits.

    Args:
        tokens: tokens of a run.
        num_recursions: R, which fixes the colours.
        key: the element's key.
        label: what is shown, for screen readers.
        marks: `HIT`, `MISS` or `CHANGED` by position.
        shows_depths: if false, leaves room to write a guess by hand.
    """
    data = {
        "mode": "show",
        "picked": [],
        "most": 0,
        "depths": [token.recursion_depth if shows_depths else None for token in tokens],
        "colours": depth_colours(num_recursions),
        "marks": {str(position): mark for position, mark in (marks or {}).items()},
    }
    _draw(tokens, key, label, data)


def step_bar(labels: Sequence[str], current: int, step_id: str, *, key: str) -> int | None:
    """Draw the steps of a lesson and return the 0-based step that was clicked.

    PageDown and the right arrow press the page's button `learn_next`, PageUp and the left arrow `learn_back`.

    Args:
        labels: the steps' labels.
        current: 0-based index of the current step.
        step_id: identifies lesson and step; when it changes, the page scrolls to its top.
        key: the element's key.
    """
    result = _bar(
        key=key,
        data={
            "labels": list(labels),
            "current": current,
            "step": step_id,
            "list": say("learn.steps"),
        },
        on_go_change=_ignore,
    )
    return int(result.go) if isinstance(result.go, int | float) else None


def data_id(tokens: Sequence[TokenRecord]) -> str:
    """Return a hash of a list of tokens, so that picks of another list under the same key are discarded."""
    ids = json.dumps([(token.position, token.token_id) for token in tokens])
    return hashlib.sha256(ids.encode()).hexdigest()[:16]


def _draw(tokens: Sequence[TokenRecord], key: str, label: str, data: dict[str, Any]) -> Any:
    shown = [
        {
            "position": token.position,
            "text": token.text,
            "token_bytes": token.token_bytes,
            "special": token.special,
        }
        for token in tokens
    ]
    words = {
        name: say(f"learn.token_{name}") for name in ("depth", "hit", "miss", "changed", "picked")
    }
    common = {"run": data_id(tokens), "tokens": shown, "label": label, "words": words}
    return _tokens(key=key, data=common | data, on_picks_change=_ignore)


def _ignore() -> None:
    """Declare a state key to Streamlit; its value is read from the component's result."""
