"""Every word has both languages, and every place in the code names a word that exists."""

import re
import string
from pathlib import Path

import pytest

from app.words import LANGUAGES, entries

ROOT = Path(__file__).parent.parent
SOURCES = [
    path
    for part in ("app", "pages")
    for path in (ROOT / part).rglob("*.py")
    if path.parent.name != "words"
]
NAMED = re.compile(r'\b(?:say|term)\(\s*f?"([^"]+)"')


def fields(text):
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("key", entries())
def test_both_languages_say_it_with_the_same_values(key):
    texts = entries()[key]
    assert set(texts) == set(LANGUAGES)
    assert all(text.strip() for text in texts.values())
    if "\\" not in texts["en"]:  # formulas have braces of their own
        assert fields(texts["en"]) == fields(texts["zh"])


def test_every_name_in_the_code_is_an_entry():
    for path in SOURCES:
        for name in NAMED.findall(path.read_text(encoding="utf-8")):
            pattern = re.escape(re.sub(r"\{[^}]*\}", "\0", name)).replace("\0", ".+")
            assert any(re.fullmatch(pattern, key) for key in entries()), (path.name, name)
