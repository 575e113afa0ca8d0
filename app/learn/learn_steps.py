"""The five steps of a lesson: read, predict, reveal, try, check. The session keeps the viewer's guesses and answers."""

import streamlit as st

from app.components.lessonparts import HIT, MISS, pick_tokens
from app.learn import learn_exhibits as exhibits
from app.learn import learn_knobs, lesson_facts, lessons
from app.learn.lesson_facts import Material
from app.learn.lesson_scores import NumberScore, PickScore, Scale, score_picks, verdict
from app.learn.lessons import CHECK, KNOB, PREDICT, READ, Lesson
from app.runs import session
from app.text.words import say


def draw(lesson: Lesson, step: str, material: Material) -> bool:
    """Draw a step; return whether the viewer may go to the next one."""
    if step == READ:
        _say(lesson, "text", material)
        exhibits.beside_text(lesson, material)
        return True
    if step == PREDICT:
        return _predict(lesson, material)
    if step == KNOB:
        _say(lesson, "knob", material)
        learn_knobs.draw(lesson, material)
        _say(lesson, "look", material)
        if lesson.name != "pays":
            st.caption(say("learn.small"))
        return True
    if step == CHECK:
        _check(lesson, material)
        return True
    _reveal(lesson, material)
    return True


def written(lesson: Lesson, part: str, material: Material) -> str:
    """Return a lesson's text with its numbers filled in."""
    return say(f"lessons.{lesson.name}_{part}", **lesson_facts.facts(lesson, material))


def _say(lesson: Lesson, part: str, material: Material) -> None:
    st.markdown(written(lesson, part, material))


def _predict(lesson: Lesson, material: Material) -> bool:
    _say(lesson, "predict", material)
    guess = _slide(lesson, lesson.scale) if lesson.scale else _pick(lesson, material)
    session.set_lesson_guess(lesson.name, guess)
    if not guess:
        st.caption(say("learn.guess_first"))
    return bool(guess)


def _pick(lesson: Lesson, material: Material) -> list[int]:
    tokens = lessons.content(material.runs[lesson.shown])
    picked = pick_tokens(
        tokens,
        key=f"learn_pick_{lesson.name}",
        label=say("learn.pick_label"),
        picked=session.lesson_guess(lesson.name) or [],
        most=lesson.max_picks,
    )
    st.caption(say("learn.picked", count=len(picked), most=lesson.max_picks))
    return picked


def _slide(lesson: Lesson, scale: Scale) -> float | None:
    guess = st.slider(
        say(f"lessons.{lesson.name}_scale"),
        float(scale.low),
        float(scale.high),
        float(session.lesson_guess(lesson.name) or scale.low),
        float(scale.step),
        format=f"%{scale.form}",
        key=f"learn_slide_{lesson.name}",
    )
    return guess if guess > scale.low else None


def _reveal(lesson: Lesson, material: Material) -> None:
    guess = session.lesson_guess(lesson.name)
    if not guess:
        st.caption(say("learn.no_guess"))
    if lesson.scale:
        if guess:
            truth = lesson_facts.truth(lesson, material)
            _say_number_score(NumberScore(guess, truth, lesson.scale))
        _say(lesson, "reveal", material)
        exhibits.beside_reveal(lesson, material)
        return
    trace = material.runs[lesson.shown]
    targets = lesson_facts.targets(lesson, material)
    if guess:
        candidates = [token.position for token in lessons.content(trace)]
        _say_pick_score(score_picks(guess, targets, candidates))
    if lesson.name == "choice":
        st.markdown(say("learn.alone"))
    marks = {position: HIT if position in targets else MISS for position in guess or []}
    exhibits.token_depths(trace, f"learn_revealed_{lesson.name}", marks)
    st.caption(say("learn.legend"))
    _say(lesson, "reveal", material)
    exhibits.beside_reveal(lesson, material)


def _say_pick_score(score: PickScore) -> None:
    text = say(
        "learn.score_picks",
        picked=score.picked,
        hits=score.hits,
        expected=f"{score.expected:.1f}",
        probability=_percent(score.probability),
    )
    _verdict(text, score.probability)


def _say_number_score(score: NumberScore) -> None:
    text = say(
        "learn.score_number",
        guess=score.scale.write(score.guess),
        truth=score.scale.write(score.truth),
        probability=_percent(score.probability),
    )
    _verdict(text, score.probability)


def _verdict(text: str, probability: float) -> None:
    name = verdict(probability)
    show = st.success if name == "good" else st.info
    show(f"{text} {say(f'learn.verdict_{name}')}")


def _percent(probability: float) -> str:
    return f"{probability:.0%}" if probability >= 0.01 else f"{probability:.1%}"


def _check(lesson: Lesson, material: Material) -> None:
    st.markdown(f"**{written(lesson, 'question', material)}**")
    options = list(range(1, lesson.num_answers + 1))
    before = session.lesson_answer(lesson.name)
    answer = st.radio(
        written(lesson, "question", material),
        options,
        index=before - 1 if before else None,
        format_func=lambda number: written(lesson, f"option_{number}", material),
        key=f"learn_answer_{lesson.name}",
        label_visibility="collapsed",
    )
    session.set_lesson_answer(lesson.name, answer)
    if answer is None:
        st.caption(say("learn.check_hint"))
        return
    show = st.success if answer == lesson.right else st.warning
    icon = ":material/check:" if answer == lesson.right else ":material/lightbulb:"
    show(written(lesson, f"because_{answer}", material), icon=icon)
