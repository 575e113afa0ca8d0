"""A language is one folder of words. A missing entry falls back to English; Chinese may lack only a few."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from app.components import strip
from app.frame.export import exported_page
from app.text import words
from tests.scripted import scripted_trace
from tests.test_architecture import ROOT

FOLDER = ROOT / "app" / "text" / "words"
COMPLETE = {"en": "en", "zh": "zh-Hans"}
"""The languages that have every entry, and what HTML calls them."""
MAX_UNTRANSLATED = 8
"""Entries that Chinese may lack: a new page or metric need not wait for its translation."""
FRENCH = {
    "language.toml": 'name = "Français"\nhtml_lang = "fr"\n',
    "about.toml": 'words_heading = "Vocabulaire"\n',
}


@pytest.fixture
def french(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A third language of three words beside the two, and no other."""
    for language in list(words.LANGUAGES):
        if language in COMPLETE:
            shutil.copytree(FOLDER / language, tmp_path / language)
        else:
            monkeypatch.delitem(words.LANGUAGES, language)
    (tmp_path / "fr").mkdir()
    for name, text in FRENCH.items():
        (tmp_path / "fr" / name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(words, "_FOLDER", tmp_path)
    monkeypatch.setitem(words.LANGUAGES, "fr", "Français")
    words.entries.cache_clear()
    yield tmp_path
    words.entries.cache_clear()


def test_english_has_every_entry_and_chinese_all_but_a_few() -> None:
    own = words.read_words(FOLDER)
    assert next(iter(own)) == "en"
    assert len(own["en"].keys() - own["zh"].keys()) <= MAX_UNTRANSLATED
    assert words.LANGUAGES | {"en": "English", "zh": "中文"} == words.LANGUAGES
    assert {name: own[name]["language.html_lang"] for name in COMPLETE} == COMPLETE
    assert not [name for name, texts in own.items() if not texts.keys() <= own["en"].keys()]


def test_a_third_language_needs_one_folder(french: Path) -> None:
    assert words.entries()["language.name"] == {"en": "English", "fr": "Français", "zh": "中文"}
    assert words.say_in("fr", "about.words_heading") == "Vocabulaire"
    said = {key for key, texts in words.entries().items() if texts["fr"] != texts["en"]}
    assert said == {"language.name", "language.html_lang", "about.words_heading"}
    assert all(set(texts) == {"en", "fr", "zh"} for texts in words.entries().values())


def test_the_page_opens_in_a_third_language_and_offers_the_others(french: Path) -> None:
    page = AppTest.from_file(str(ROOT / "app" / "main.py"), default_timeout=60)
    page.query_params["lang"] = "fr"
    page.run()
    page.switch_page(str(ROOT / "pages" / "about.py")).run()
    assert not page.exception
    headings = [heading.value for heading in [*page.header, *page.subheader]]
    assert "Vocabulaire" in headings
    assert words.say_in("en", "about.checkpoints_heading") in headings
    assert [button.label for button in page.button if "header_language" in str(button.key)] == [
        "English",
        "中文",
    ]
    page.button(key="header_language_zh").click().run()
    assert page.query_params["lang"] == "zh"


def test_the_strip_and_the_exported_page_speak_it_too(french: Path) -> None:
    script = strip.script(strip.STRIP / "strip.js", strip.words())
    page = exported_page(scripted_trace(), "fr")
    for said in (
        json.loads(re.search(r"prepareWords\((\{.*?\})\);\n", script, re.DOTALL)[1]),  # type: ignore[index]
        json.loads(re.search(r'id="run-data">(\{.*\})</script>', page)[1])["words"],  # type: ignore[index]
    ):
        assert all(texts["fr"] == texts["en"] for texts in said.values())
        assert said
    assert '<html lang="fr">' in page
    assert '<html lang="zh-Hans">' in exported_page(scripted_trace(), "zh")
