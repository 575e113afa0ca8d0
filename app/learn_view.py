"""The Learn page: which lesson and step the link names, the bar above, the buttons below, and the sheet to print."""

from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from app import frame, learn_sheet, learn_steps, lessonparts, lessons, loading, notices, state
from app.lesson_facts import Material, facts
from app.lessonparts import step_bar
from app.lessons import CHECK, LESSONS, PREDICT, SHEET, STEPS, Lesson
from app.results import ResultError
from app.words import say
from mor_core.checkpoint import CheckpointInfo
from mor_core.lesson_runs import lesson_runs
from mor_core.trace import Trace
from mor_core.tracefile import TraceError

_STYLE = Path(lessonparts.__file__).parent / "page.css"


def draw(checkpoints: Sequence[CheckpointInfo]) -> None:
    """Draw the step that the link names."""
    material = _material(checkpoints)
    if material is None:
        return
    st.html(_STYLE)
    number, step = lessons.parse_place(*state.lesson_link())
    state.set_lesson_link(number, lessons.step_link(step))
    lesson = LESSONS[number - 1]
    with st.container(key="learn_page"):
        if step == SHEET:
            learn_sheet.draw(number, lesson, material)
        else:
            _lesson(number, lesson, step, material)
        _provenance(material, checkpoints)


def _lesson(number: int, lesson: Lesson, step: str, material: Material) -> None:
    _choose_lesson(number)
    frame.heading(say(f"lessons.{lesson.name}_title"), *lesson.terms)
    labels = [say(f"learn.step_{name}") for name in STEPS]
    place = f"{number}.{step}"
    clicked = step_bar(labels, STEPS.index(step), place, key="learn_bar")
    if clicked is not None and clicked != STEPS.index(step):
        state.set_lesson_link(number, str(clicked + 1))
        st.rerun()
    may_follow = learn_steps.draw(lesson, step, material)
    if step == CHECK:
        right = sum(state.lesson_answer(each.name) == each.right for each in LESSONS)
        st.caption(say("learn.score_total", right=right, total=len(LESSONS)))
        if lesson is LESSONS[-1] and state.lesson_answer(lesson.name):
            notices.show_info(say("learn.finished"))
    _buttons(number, step, may_follow)


def _choose_lesson(number: int) -> None:
    with st.container(key="learn_lessons"):
        chosen = st.segmented_control(
            say("learn.lesson"),
            list(range(1, len(LESSONS) + 1)),
            format_func=lambda index: f"{index} {say(f'lessons.{LESSONS[index - 1].name}_short')}",
            default=number,
            required=True,
            key=f"learn_lesson_{number}",
            label_visibility="collapsed",
        )
    if chosen and chosen != number:
        state.set_lesson_link(chosen, "1")
        st.rerun()


def _buttons(number: int, step: str, may_follow: bool) -> None:
    before, after = lessons.neighbours(number, step)
    with st.container(horizontal=True, vertical_alignment="center", key="learn_buttons"):
        _go(say("learn.back"), "learn_back", before, icon=":material/arrow_back:")
        is_last_step = step == CHECK
        words = say("learn.next_lesson") if is_last_step else say("learn.next")
        _go(words, "learn_next", after if may_follow else None, icon=":material/arrow_forward:")
        if step == PREDICT and not may_follow:
            _go(say("learn.skip"), "learn_skip", after)
        _go(say("learn.print"), "learn_print", (number, SHEET), icon=":material/print:")
    st.caption(say("learn.keys"))


def _go(words: str, key: str, place: tuple[int, str] | None, *, icon: str | None = None) -> None:
    """Draw a button that goes to a place; without one it cannot be pressed."""
    st.button(
        words,
        key=key,
        icon=icon,
        icon_position="right" if key == "learn_next" else "left",
        type="primary"
        if key == "learn_next"
        else "tertiary"
        if key != "learn_back"
        else "secondary",
        disabled=place is None,
        on_click=state.set_lesson_link,
        args=(place[0], lessons.step_link(place[1])) if place else (1, "1"),
    )


def _material(checkpoints: Sequence[CheckpointInfo]) -> Material | None:
    """Open what the lessons need of the first checkpoint that has it; say what is wrong or missing."""
    if not checkpoints:
        notices.show_info(say("frame.no_checkpoints"))
        return None
    info = next((each for each in checkpoints if loading.lesson_traces(each.path)), None)
    if info is None:
        notices.show_info(say("learn.no_runs"))
        return None
    try:
        material = Material(
            info.name,
            _opened(info),
            info.evaluation,
            [loading.open_trace(path) for path in loading.recorded_traces(info.path)],
        )
        for lesson in LESSONS:
            facts(lesson, material)
    except (TraceError, ResultError, KeyError, IndexError, TypeError, ZeroDivisionError) as error:
        notices.show_error(say("learn.damaged", name=info.name, problem=str(error)))
        return None
    return material


def _opened(info: CheckpointInfo) -> dict[str, Trace]:
    """Open the lessons' runs.

    Raises:
        TraceError: one is damaged, missing, of other weights or of another text.
    """
    paths = loading.lesson_traces(info.path)
    runs = {}
    for run in lesson_runs():
        if run.name not in paths:
            raise TraceError(f"{run.name} is missing")
        trace = loading.open_trace(paths[run.name])
        if trace.header.checkpoint_sha256 != info.sha256 or not lessons.is_lesson_text(trace):
            raise TraceError(f"{run.name} is of other weights or of another text")
        runs[run.name] = trace
    return runs


def _provenance(material: Material, checkpoints: Sequence[CheckpointInfo]) -> None:
    info = next(each for each in checkpoints if each.name == material.checkpoint)
    date = material.own.header.created[:10]
    words = say("learn.provenance", name=notices.as_text(info.name), sha=info.sha256[:8], date=date)
    st.caption(words)
