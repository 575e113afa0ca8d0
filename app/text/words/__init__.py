"""Every text that the app shows: one folder a language, in it one TOML file a page and one entry a text.

`say("page.entry")` is the text in the viewer's language; it may be shown as Markdown where the entry is written so.
A folder with a `language.toml` is a language: its name is what links call it (`lang=zh`), and `language.toml` holds the
language's own name and its HTML code. English has every entry; another language shows English where it has none.
"""

import functools
import tomllib
from collections.abc import Callable
from pathlib import Path

ENGLISH = "en"
_FOLDER = Path(__file__).parent


class _Asked:
    """Whom to ask for the viewer's language; before anybody is named it is English.

    Charts use words and are to know nothing of Streamlit, so the session is asked through this.
    """

    language: Callable[[], str] = staticmethod(lambda: "en")


def follow(language: Callable[[], str]) -> None:
    """Ask this function for the viewer's language from now on."""
    _Asked.language = staticmethod(language)


def say(key: str, /, **values: object) -> str:
    """Return a text in the viewer's language.

    Args:
        key: the file's name and the entry's, such as `live.run`.
        **values: what stands in the text's braces, as `str.format` takes it. Without any, braces are as they are.

    Raises:
        KeyError: no such entry.
    """
    return say_in(viewer_language(), key, **values)


def say_in(language: str, key: str, /, **values: object) -> str:
    """Return a text in a given language; for whoever speaks to a viewer from another thread."""
    text = entries()[key][language]
    return text.format(**values) if values else text


def viewer_language() -> str:
    """Return the language of the viewer whose session this is."""
    return _Asked.language()


def term(name: str) -> str:
    """Return a term of the glossary and what it means, as Markdown.

    Raises:
        KeyError: no such term.
    """
    key = name.replace(" ", "_")
    return f"**{say(f'glossary.{key}_title')}**: {say(f'glossary.{key}')}"


def terms() -> list[str]:
    """Return the names of all terms, in the glossary's order."""
    keys = [key.removeprefix("glossary.") for key in entries() if key.startswith("glossary.")]
    return [key.replace("_", " ") for key in keys if not key.endswith("_title")]


def read_words(folder: Path) -> dict[str, dict[str, str]]:
    """Return each language's own entries, key to text, without the fallback; English comes first."""
    words = {
        found.parent.name: {
            f"{path.stem}.{name}": text
            for path in sorted(found.parent.glob("*.toml"))
            for name, text in tomllib.loads(path.read_text(encoding="utf-8")).items()
        }
        for found in sorted(folder.glob("*/language.toml"))
    }
    return {ENGLISH: words.pop(ENGLISH), **words}


@functools.cache
def entries() -> dict[str, dict[str, str]]:
    """Return every entry: its key, and its text in each language, in English where a language has none."""
    words = read_words(_FOLDER)
    return {
        key: {language: own.get(key, english) for language, own in words.items()}
        for key, english in words[ENGLISH].items()
    }


LANGUAGES = dict(entries()["language.name"])  # what links call a language: its own name
