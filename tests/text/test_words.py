"""Every word is in every language, with the same values, and every place in the code names a word that exists."""

import re
import string
from pathlib import Path

from markdown_it import MarkdownIt

from app.text.words import LANGUAGES, entries

ROOT = Path(__file__).parents[2]
SOURCES = [
    path
    for part in ("app", "pages")
    for path in (ROOT / part).rglob("*.py")
    if path.parent.name != "words"
]
NAMED = re.compile(r'\b(?:say|term)\(\s*f?"([^"]+)"')


def fields(text):
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def word_faults(texts):
    """Yield what is wrong with one entry; formulas have braces of their own."""
    if set(texts) != set(LANGUAGES):
        yield f"languages are {sorted(texts)}"
    elif not all(text.strip() for text in texts.values()):
        yield "a text is empty"
    elif "\\" not in texts["en"]:
        for language, text in texts.items():
            if fields(text) != fields(texts["en"]):
                yield f"values in {language} are {sorted(fields(text))}, not {sorted(fields(texts['en']))}"


def test_all_languages_say_it_with_the_same_values():
    faults = [f"{key}: {fault}" for key, texts in entries().items() for fault in word_faults(texts)]
    assert not faults, "\n".join(faults)


def test_emphasis_closes():
    """Between a full stop and a letter, asterisks stay asterisks; Chinese has no space to help."""
    markdown = MarkdownIt()
    for key, texts in entries().items():
        for text in texts.values():
            assert "**" not in re.sub(r"<code>.*?</code>", "", markdown.render(text)), key


def test_every_name_in_the_code_is_an_entry():
    for path in SOURCES:
        for name in NAMED.findall(path.read_text(encoding="utf-8")):
            pattern = re.escape(re.sub(r"\{[^}]*\}", "\0", name)).replace("\0", ".+")
            assert any(re.fullmatch(pattern, key) for key in entries()), (path.name, name)


STRIP = ROOT / "mor_core" / "page" / "strip"
SAID = re.compile(r'\bsay\(\s*(?:"([^"]+)"|`([^`]+)`)')
CHOSEN = re.compile(r'\bsay\([^("`]*\?\s*"([^"]+)"\s*:\s*"([^"]+)"')


def test_every_name_in_the_strip_is_an_entry_and_every_entry_is_named():
    keys = {key.removeprefix("strip.") for key in entries() if key.startswith("strip.")}
    text = "\n".join(path.read_text(encoding="utf-8") for path in STRIP.glob("*.js"))
    plain = {name for pair in CHOSEN.findall(text) for name in pair}
    plain |= {name for name, _ in SAID.findall(text) if name}
    patterns = [re.sub(r"\$\{[^}]*\}", ".+", name) for _, name in SAID.findall(text) if name]
    assert plain <= keys
    assert all(any(re.fullmatch(pattern, key) for key in keys) for pattern in patterns)
    loose = set(re.findall(r'"(key_\w+)"', text))  # named in a list
    for key in keys - plain - loose:
        assert any(re.fullmatch(pattern, key) for pattern in patterns), key


def test_braces_of_the_strip_are_words():
    for key, texts in entries().items():
        if key.startswith("strip."):
            assert all(re.fullmatch(r"\w+", name) for name in fields(texts["en"])), key
