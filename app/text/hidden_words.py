"""The words that presenter mode never shows. The strip's `hidden.js` hides them in the browser."""

import functools
from pathlib import Path

FILE = Path(__file__).parent / "hidden_words.txt"


@functools.cache
def hidden_words() -> tuple[str, ...]:
    """Return the words in lower case, without the file's comments; every inflected form is an entry of its own."""
    lines = FILE.read_text(encoding="utf-8").splitlines()
    return tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))
