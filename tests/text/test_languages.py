"""A language is one folder of words: Chinese is whole, and a third shows English where it has none."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from app.components import strip
from app.frame.export import standalone_page
from app.text import words
from tests.scripted import scripted_trace
from tests.test_architecture import ROOT

FOLDER = ROOT / "app" / "text" / "words"
CODE, NAME = "qaa", "Third"  # a code that no language has
THREE_WORDS = {
    "language.toml": f'name = "{NAME}"\nhtml_lang = "{CODE}"\n',
    "about.toml": 'words_heading = "Thirds"\n',
}


@pytest.fixture
def third(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A third language of three words beside the two."""
    for language in words.LANGUAGES:
        shutil.copytree(FOLDER / language, tmp_path / language)
    (tmp_path / CODE).mkdir()
    for name, text in THREE_WORDS.items():
        (tmp_path / CODE / name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(words, "_FOLDER", tmp_path)
    monkeypatch.setitem(words.LANGUAGES, CODE, NAME)
    words.entries.cache_clear()
    yield tmp_path
    words.entries.cache_clear()


def test_chinese_is_whole_and_no_language_has_an_entry_that_english_lacks() -> None:
    own = words.read_words(FOLDER)
    assert own["zh"].keys() == own["en"].keys()
    for language, texts in own.items():
        assert not texts.keys() - own["en"].keys(), language
        assert {"language.name", "language.html_lang"} <= texts.keys(), language
    assert next(iter(own)) == "en"
    assert [words.LANGUAGES["en"], words.LANGUAGES["zh"]] == ["English", "中文"]


def test_a_third_language_needs_one_folder(third: Path) -> None:
    names = {
        language: texts["language.name"] for language, texts in words.read_words(third).items()
    }
    assert words.entries()["language.name"] == names == words.LANGUAGES
    assert words.say_in(CODE, "about.words_heading") == "Thirds"
    said = {key for key, texts in words.entries().items() if texts[CODE] != texts["en"]}
    assert said == {"language.name", "language.html_lang", "about.words_heading"}


def test_the_page_opens_in_a_third_language_and_offers_the_others(third: Path) -> None:
    page = AppTest.from_file(str(ROOT / "app" / "main.py"), default_timeout=60)
    page.query_params["lang"] = CODE
    page.run()
    page.switch_page(str(ROOT / "pages" / "about.py")).run()
    assert not page.exception
    headings = [heading.value for heading in [*page.header, *page.subheader]]
    assert "Thirds" in headings
    assert words.say_in("en", "about.checkpoints_heading") in headings
    offered = [button.label for button in page.button if "header_language" in str(button.key)]
    assert offered == [name for name in words.LANGUAGES.values() if name != NAME]
    page.button(key="header_language_zh").click().run()
    assert page.query_params["lang"] == "zh"


def test_the_strip_and_the_exported_page_speak_it_too(third: Path) -> None:
    script = strip.script()
    said = json.loads(re.search(r"const WORDS = (\{.*?\});\n", script, re.DOTALL)[1])  # type: ignore[index]
    assert all(texts[CODE] == texts["en"] for texts in said.values())
    assert f'<html lang="{CODE}">' in standalone_page(scripted_trace(), CODE)
    assert '<html lang="zh-Hans">' in standalone_page(scripted_trace(), "zh")
