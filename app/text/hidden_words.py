"""The words that presenter mode never shows; `hidden.js` of the strip hides them where they are drawn."""

import functools
from pathlib import Path

FILE = Path(__file__).parent / "hidden_words.txt"


@functools.cache
def hidden_words() -> tuple[str, ...]:
    """Return the list: lower case, one form each, without comments."""
    lines = FILE.read_text(encoding="utf-8").splitlines()
    return tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))
