"""One lesson on one printed sheet: text, prediction and question without answers, for a class without screens."""

import streamlit as st

from app.components.lessonparts import show_tokens
from app.frame import page_parts
from app.learn import learn_exhibits as exhibits
from app.learn import learn_steps, lessons
from app.learn.lesson_facts import Material
from app.learn.lessons import Lesson
from app.runs import session
from app.text.words import say


def draw(number: int, lesson: Lesson, material: Material) -> None:
    """Draw a lesson's sheet."""
    with st.container(horizontal=True, vertical_alignment="center", key="learn_sheet_buttons"):
        st.button(
            say("learn.print_back"),
            key="learn_back",
            icon=":material/arrow_back:",
            on_click=session.set_lesson_link,
            args=(number, "1"),
        )
        st.caption(say("learn.print_hint"))
    page_parts.heading(f"{number}. {say(f'lessons.{lesson.name}_title')}")
    st.markdown(learn_steps.written(lesson, "text", material))
    exhibits.beside_text(lesson, material)
    st.divider()
    st.markdown(learn_steps.written(lesson, "predict", material))
    trace = material.runs[lesson.shown]
    show_tokens(
        lessons.content(trace),
        trace.header.num_recursions,
        key=f"learn_sheet_{lesson.name}",
        label=say("learn.pick_label"),
        shows_depths=False,
    )
    st.markdown(say("learn.sheet_guess") if lesson.scale else say("learn.sheet_pick"))
    st.divider()
    st.markdown(
        f"**{say('learn.sheet_question')}** " + learn_steps.written(lesson, "question", material)
    )
    options = range(1, lesson.num_answers + 1)
    st.markdown(
        "\n".join(f"- ☐ {learn_steps.written(lesson, f'option_{n}', material)}" for n in options)
    )
