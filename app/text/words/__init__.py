"""Every text that the app shows: one folder per language, with one TOML file per page and one entry per text.

`say("page.entry")` returns the text in the viewer's language; some entries are Markdown. Each folder with a
`language.toml` is a language. Links use the folder's name (`lang=zh`); `language.toml` holds the language's own name
and its HTML code. English has every entry; where another language has none, it shows English.
"""

import functools
import tomllib
from collections.abc import Callable
from pathlib import Path

ENGLISH = "en"
_FOLDER = Path(__file__).parent


class _Viewer:
    """Where the viewer's language comes from; English until `follow` is called.

    Charts use words but must not depend on Streamlit, so the session hands in a function.
    """

    language: Callable[[], str] = staticmethod(lambda: ENGLISH)


def follow(language: Callable[[], str]) -> None:
    """Take the viewer's language from this function from now on."""
    _Viewer.language = staticmethod(language)


def say(key: str, /, **values: object) -> str:
    """Return a text in the viewer's language.

    Args:
        key: the names of the file and of the entry, such as `live.run`.
        **values: replace the text's braces, as in `str.format`. Without values, braces stay as they are.

    Raises:
        KeyError: no such entry.
    """
    return say_in(viewer_language(), key, **values)


def say_in(language: str, key: str, /, **values: object) -> str:
    """Return a text in a given language, for a thread that has no viewer of its own."""
    text = entries()[key][language]
    return text.format(**values) if values else text


def viewer_language() -> str:
    """Return the language of the present session's viewer."""
    return _Viewer.language()


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
    """Return each language's own entries (key to text) without the fallback; English comes first."""
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
    """Return every entry's text in each language by key; where a language has none, the English text."""
    words = read_words(_FOLDER)
    return {
        key: {language: own.get(key, english) for language, own in words.items()}
        for key, english in words[ENGLISH].items()
    }


LANGUAGES = dict(entries()["language.name"])  # code in links, such as `zh`: the language's own name
