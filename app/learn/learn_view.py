"""The Learn page: the linked lesson and step, with the bar above, the buttons below, and the sheet to print."""

from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from app.components import lessonparts
from app.components.lessonparts import step_bar
from app.frame import messages, page_parts
from app.learn import learn_sheet, learn_steps, lessons
from app.learn.lesson_facts import Material, facts
from app.learn.lessons import CHECK, LESSONS, PREDICT, SHEET, STEPS, Lesson
from app.runs import resources, session
from app.tables.result_files import ResultError
from app.text.words import say
from mor_core.checkpoints.checkpoint import CheckpointInfo
from mor_core.generation.lesson_runs import lesson_runs
from mor_core.traces.trace import Trace
from mor_core.traces.trace_file import TraceError

_STYLE = Path(lessonparts.__file__).parent / "page.css"


def draw(checkpoints: Sequence[CheckpointInfo]) -> None:
    """Draw the step that the link names."""
    material = _material(checkpoints)
    if material is None:
        return
    st.html(_STYLE)
    number, step = lessons.parse_link(*session.lesson_link())
    session.set_lesson_link(number, lessons.step_link(step))
    lesson = LESSONS[number - 1]
    with st.container(key="learn_page"):
        if step == SHEET:
            learn_sheet.draw(number, lesson, material)
        else:
            _lesson(number, lesson, step, material)
        _provenance(material, checkpoints)


def _lesson(number: int, lesson: Lesson, step: str, material: Material) -> None:
    _choose_lesson(number)
    page_parts.heading(say(f"lessons.{lesson.name}_title"), *lesson.terms)
    labels = [say(f"learn.step_{name}") for name in STEPS]
    clicked = step_bar(labels, STEPS.index(step), f"{number}.{step}", key="learn_bar")
    if clicked is not None and clicked != STEPS.index(step):
        session.set_lesson_link(number, str(clicked + 1))
        st.rerun()
    with st.container():  # keeps the buttons below in place while a step is drawn
        may_follow = learn_steps.draw(lesson, step, material)
        if step == CHECK:
            right = sum(session.lesson_answer(each.name) == each.right for each in LESSONS)
            st.caption(say("learn.score_total", right=right, total=len(LESSONS)))
            if lesson is LESSONS[-1] and session.lesson_answer(lesson.name):
                messages.show_info(say("learn.finished"))
    _buttons(number, step, may_follow)


def _choose_lesson(number: int) -> None:
    with st.container(key="learn_lessons"):
        chosen = st.segmented_control(
            say("learn.lesson"),
            list(range(1, len(LESSONS) + 1)),
            format_func=_lesson_label,
            default=number,
            required=True,
            key=f"learn_lesson_{number}",
            label_visibility="collapsed",
        )
    if chosen and chosen != number:
        session.set_lesson_link(chosen, "1")
        st.rerun()


def _lesson_label(number: int) -> str:
    """Return a lesson's number and name, with a tick once its question is answered correctly."""
    lesson = LESSONS[number - 1]
    tick = " ✓" if session.lesson_answer(lesson.name) == lesson.right else ""
    return f"{number} {say(f'lessons.{lesson.name}_short')}{tick}"


def _buttons(number: int, step: str, may_follow: bool) -> None:
    before, after = lessons.neighbours(number, step)
    with st.container(horizontal=True, vertical_alignment="center", key="learn_buttons"):
        st.button(
            say("learn.back"),
            key="learn_back",
            icon=":material/arrow_back:",
            disabled=before is None,
            on_click=_move,
            args=(-1,),
        )
        st.button(
            say("learn.next_lesson" if step == CHECK else "learn.next"),
            key="learn_next",
            icon=":material/arrow_forward:",
            icon_position="right",
            type="primary",
            disabled=after is None or not may_follow,
            on_click=_move,
            args=(1,),
        )
        if step == PREDICT and not may_follow:
            st.button(
                say("learn.skip"), key="learn_skip", type="tertiary", on_click=_move, args=(1, True)
            )
        st.button(
            say("learn.print"),
            key="learn_print",
            icon=":material/print:",
            type="tertiary",
            on_click=session.set_lesson_link,
            args=(number, SHEET),
        )
    st.caption(say("learn.keys"))


def _move(by: int, skips: bool = False) -> None:
    """Go one step forward or back from the current step, which may have changed since the button was drawn."""
    number, step = lessons.parse_link(*session.lesson_link())
    if step == SHEET:
        return
    guessed = step != PREDICT or bool(session.lesson_guess(LESSONS[number - 1].name))
    target = lessons.neighbours(number, step)[0 if by < 0 else 1]
    if target and (by < 0 or guessed or skips):
        session.set_lesson_link(target[0], lessons.step_link(target[1]))


def _material(checkpoints: Sequence[CheckpointInfo]) -> Material | None:
    """Open the lessons' material of the first checkpoint that has it; show an error if it is missing or damaged."""
    if not checkpoints:
        messages.show_info(say("frame.no_checkpoints"))
        return None
    info = next((each for each in checkpoints if resources.lesson_traces(each.path)), None)
    if info is None:
        messages.show_info(say("learn.no_runs"))
        return None
    try:
        material = Material(
            info.name,
            _opened(info),
            info.evaluation,
        )
        for lesson in LESSONS:
            facts(lesson, material)
    except (TraceError, ResultError, KeyError, IndexError, TypeError, ZeroDivisionError) as error:
        messages.show_error(say("learn.damaged", name=info.name, problem=str(error)))
        return None
    return material


def _opened(info: CheckpointInfo) -> dict[str, Trace]:
    """Open the lessons' runs.

    Raises:
        TraceError: a run is damaged, missing, or of other weights or another text.
    """
    paths = resources.lesson_traces(info.path)
    runs = {}
    for run in lesson_runs():
        if run.name not in paths:
            raise TraceError(say("learn.run_missing", name=run.name))
        trace = resources.open_trace(paths[run.name])
        of_text = run.new_tokens > 0 or lessons.is_lesson_text(trace)
        if trace.header.checkpoint_sha256 != info.sha256 or not of_text:
            raise TraceError(say("learn.run_foreign", name=run.name))
        runs[run.name] = trace
    return runs


def _provenance(material: Material, checkpoints: Sequence[CheckpointInfo]) -> None:
    info = next(each for each in checkpoints if each.name == material.checkpoint)
    date = material.own.header.created[:10]
    words = say(
        "learn.provenance", name=messages.as_text(info.name), sha=info.sha256[:8], date=date
    )
    st.caption(words)
