"""The Learn page from the entry script: every step of every lesson in both languages, and what it remembers."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from app.learn import lessons
from app.learn.lessons import LESSONS, STEPS
from app.text.words import LANGUAGES, entries
from mor_core.checkpoints.checkpoint import checkpoint_root, list_checkpoints
from mor_core.generation.lesson_runs import FOLDER
from tests.parts import components

ENTRY = str(Path(__file__).resolve().parents[2] / "app" / "main.py")
NAME = list_checkpoints()[0].name


def opened(lesson: Any = 1, step: Any = 1, language: str = "en") -> AppTest:
    page = AppTest.from_file(ENTRY, default_timeout=60).switch_page("../pages/learn.py")
    page.query_params["lesson"], page.query_params["step"] = str(lesson), str(step)
    page.query_params["lang"] = language
    page.run()
    assert not page.exception
    return page


def shown(page: AppTest) -> str:
    parts = [*page.markdown, *page.caption, *page.info, *page.success, *page.warning, *page.error]
    return " ".join(str(part.value) for part in parts)


def press(page: AppTest, name: str) -> AppTest:
    page.button(key=f"learn_{name}").click().run()
    assert not page.exception
    return page


def place(page: AppTest) -> tuple[str, str]:
    return page.query_params["lesson"][0], page.query_params["step"][0]


def said(key: str, language: str) -> str:
    """The longest stretch of an entry between its numbers."""
    return max(re.split(r"\{\w+\}", entries()[f"lessons.{key}"][language]), key=len).strip()


@pytest.mark.parametrize("language", LANGUAGES)
def test_next_walks_through_all_lessons_and_steps(language: str) -> None:
    page = opened(language=language)
    for number, lesson in enumerate(LESSONS, start=1):
        for index, _ in enumerate(STEPS, start=1):
            assert place(page) == (str(number), str(index))
            part = ("text", "predict", "reveal", "knob", "question")[index - 1]
            assert said(f"{lesson.name}_{part}", language) in shown(page)
            assert "{" not in shown(page)
            if index == 2:
                assert page.button(key="learn_next").disabled, "a guess comes first"
                press(page, "skip")
            elif (number, index) != (len(LESSONS), len(STEPS)):
                press(page, "next")
    assert page.button(key="learn_next").disabled, "there is nothing after the last step"
    press(page, "back")
    assert place(page) == (str(len(LESSONS)), "4")


@pytest.mark.parametrize("lesson", [lesson for lesson in LESSONS if lesson.scale])
def test_guessed_number_is_scored(lesson: lessons.Lesson) -> None:
    page = opened(LESSONS.index(lesson) + 1, 2)
    assert lesson.scale
    guess = lesson.scale.values[4]
    page.slider(key=f"learn_slide_{lesson.name}").set_value(guess).run()
    press(page, "next")
    assert f"Your prediction: **{lesson.scale.write(guess)}**" in shown(page)
    press(page, "back")
    assert page.slider(key=f"learn_slide_{lesson.name}").value == pytest.approx(guess)


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.name)
def test_every_answer_is_explained_and_one_is_right(lesson: lessons.Lesson) -> None:
    page = opened(LESSONS.index(lesson) + 1, 5)
    for answer in range(1, lesson.num_answers + 1):
        page.radio(key=f"learn_answer_{lesson.name}").set_value(answer).run()
        assert said(f"{lesson.name}_because_{answer}", "en") in shown(page)
        assert len(page.success) == (answer == lesson.right)
        right = int(answer == lesson.right)
        assert f"{right} of {len(LESSONS)} check questions" in shown(page)


@pytest.mark.parametrize(
    ("lesson", "step", "expected"),
    [
        ("9", "1", ("1", "1")),
        ("x", "y", ("1", "1")),
        ("3", "0", ("3", "1")),
        ("4", "5", ("4", "5")),
    ],
)
def test_link_that_names_nothing_begins_a_lesson(
    lesson: str, step: str, expected: tuple[str, str]
) -> None:
    assert place(opened(lesson, step)) == expected


@pytest.mark.parametrize("number", range(1, len(LESSONS) + 1))
def test_sheet_has_text_and_question_but_no_answer(number: int) -> None:
    page = opened(number, "print")
    lesson = LESSONS[number - 1]
    for part in ("text", "predict", "question", f"option_{lesson.right}"):
        assert said(f"{lesson.name}_{part}", "en") in shown(page)
    for part in ("reveal", f"because_{lesson.right}"):
        assert said(f"{lesson.name}_{part}", "en") not in shown(page)
    press(page, "back")
    assert place(page) == (str(number), "1")


@pytest.mark.parametrize(
    ("widget", "lesson", "value"),
    [("segmented", 1, "read-depth-2"), ("slider", 2, 0), ("slider", 3, 6), ("slider", 5, 0)],
)
def test_knob_changes_what_is_shown(widget: str, lesson: int, value: Any) -> None:
    page = opened(lesson, 4)
    before = (strips(page), [metric.value for metric in page.metric])
    if widget == "segmented":
        page.button_group(key="learn_passes").set_value(value).run()
    else:
        slider = page.select_slider[0]
        slider.set_value(slider.options[value - 1 if value else 0]).run()
    assert not page.exception
    assert before != (strips(page), [metric.value for metric in page.metric])


def strips(page: AppTest) -> list[str]:
    return [found.proto.json for found in components(page)]


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The bundled checkpoint without its weights' other company, to be damaged."""
    root = tmp_path / "checkpoints"
    shutil.copytree(checkpoint_root() / NAME, root / NAME)
    monkeypatch.setenv("MOR_CHECKPOINTS", str(root))
    return root / NAME


def test_missing_runs_are_said_with_the_remedy(copied: Path) -> None:
    shutil.rmtree(copied / FOLDER)
    assert "mor lessons" in shown(opened())


def test_damaged_run_is_named(copied: Path) -> None:
    next((copied / FOLDER).glob("read-top_k-1*")).unlink()
    assert "read-top_k-1 is missing" in shown(opened()).replace("\\", "")


def test_no_checkpoint_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOR_CHECKPOINTS", str(tmp_path / "nothing"))
    assert "mor train" in shown(opened())
