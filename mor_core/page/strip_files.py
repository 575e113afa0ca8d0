"""The token strip's HTML, CSS and JavaScript. The caller passes its texts, in every language."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mor_core.page.modules import join

STRIP = Path(__file__).parent / "strip"


@dataclass(frozen=True)
class PageWords:
    """The texts that the modules show, and the words that they hide.

    Attributes:
        texts: by name, then by language.
        hidden: words that presenter mode hides, in lower case.
    """

    texts: Mapping[str, Mapping[str, str]]
    hidden: Sequence[str]


def markup() -> str:
    """Return the strip's HTML."""
    return (STRIP / "strip.html").read_text(encoding="utf-8")


def style() -> str:
    """Return the strip's CSS."""
    return (STRIP / "strip.css").read_text(encoding="utf-8")


def script(module: Path, words: PageWords | None = None) -> str:
    """Return a module bundled with its imports and its texts.

    Args:
        module: whose default export draws, such as `STRIP / "strip.js"`.
        words: its texts and hidden words; `None` if it does not use the strip's modules for them.
    """
    lines = [f'import render from "./{module.name}";', "export default render;", ""]
    if words is not None:
        strip = Path(os.path.relpath(STRIP, module.parent)).as_posix()
        lines = [
            f'import {{ prepareHiddenWords }} from "./{strip}/hidden.js";',
            f'import {{ prepareWords }} from "./{strip}/words.js";',
            f"prepareWords({json.dumps(words.texts, indent=0)});",
            f"prepareHiddenWords({json.dumps(words.hidden)});",
            *lines,
        ]
    return join("\n".join(lines), module.parent)
