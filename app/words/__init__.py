"""Every word that the app shows, in English and in Chinese: one TOML file a page, one entry a text.

`say("page.entry")` is the text in the viewer's language; it may be shown as Markdown where the entry is written so.
"""

import functools
import tomllib
from pathlib import Path

from app import state

LANGUAGES = {"en": "English", "zh": "中文"}
_FOLDER = Path(__file__).parent


def say(key: str, /, **values: object) -> str:
    """Return a text in the viewer's language.

    Args:
        key: the file's name and the entry's, such as `live.run`.
        **values: what stands in the text's braces, as `str.format` takes it. Without any, braces are as they are.

    Raises:
        KeyError: no such entry.
    """
    text = entries()[key][state.language()]
    return text.format(**values) if values else text


def section(prefix: str) -> dict[str, str]:
    """Return the texts whose keys begin with `prefix` and a dot, by the rest of their keys, in the files' order."""
    language = state.language()
    return {
        key.removeprefix(f"{prefix}."): texts[language]
        for key, texts in entries().items()
        if key.startswith(f"{prefix}.")
    }


@functools.cache
def entries() -> dict[str, dict[str, str]]:
    """Return every entry: its key, and its text in each language."""
    found: dict[str, dict[str, str]] = {}
    for path in sorted(_FOLDER.glob("*.toml")):
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        found |= {f"{path.stem}.{name}": texts for name, texts in tables.items()}
    return found
