"""The lessons' exhibits: tables, token rows and charts from recorded runs, beside the text of a step."""

import html
from collections.abc import Callable
from dataclasses import replace

import pandas as pd
import streamlit as st

from app.charts import run_heatmaps
from app.components.lessonparts import CHANGED, show_tokens
from app.frame import page_parts
from app.learn import charts_learn, lesson_measures, lessons
from app.learn.lesson_facts import Material
from app.learn.lessons import RAISED_LOGIT, Lesson
from app.style.theme import format_bytes, visible_text
from app.text.words import say
from mor_core.generation.lesson_runs import RANDOM_SEEDS, SENTENCES, threshold_run
from mor_core.traces.trace import Trace


def beside_text(lesson: Lesson, material: Material) -> None:
    """Draw the exhibit of a lesson's first step."""
    if lesson.name == "layers":
        st.html(_flow(material.own))
    if lesson.name == "router":
        st.table(scores_table(material.runs["read-causal-1"]))


def beside_reveal(lesson: Lesson, material: Material) -> None:
    """Draw the exhibit of a lesson's reveal step."""
    shown = _REVEALED.get(lesson.name)
    if shown:
        shown(material)


def token_depths(
    trace: Trace, key: str, marks: dict[int, str] | None = None, tokens: int | None = None
) -> None:
    """Draw a run's tokens with their depths."""
    show_tokens(
        lessons.content(trace)[:tokens],
        trace.header.num_recursions,
        key=key,
        label=say("learn.shown_depths"),
        marks=marks,
    )


def changed_marks(first: Trace, second: Trace) -> dict[int, str]:
    """Return the mark `CHANGED` for each position whose depth differs."""
    return dict.fromkeys(lessons.changed(first, second), CHANGED)


def scores_table(trace: Trace) -> pd.DataFrame:
    """Return a run's tokens with their router scores from recursion 2 on, and their depths."""
    rows = []
    for token in lessons.content(trace):
        row = {say("learn.column_token"): visible_text(token.text, token.token_bytes)}
        for number, score in enumerate(token.router_scores[1:], start=2):
            name = say("learn.column_score", number=number)
            row[name] = say("learn.not_computed") if score is None else f"{score:.2f}"
        rows.append(row | {say("learn.column_depth"): str(token.recursion_depth)})
    return pd.DataFrame(rows).set_index(say("learn.column_token"))


def repeated_table(own: Trace, other: Trace) -> pd.DataFrame:
    """Return the repeated tokens with their depths in order of position, under two routers."""
    depth_own = {token.position: token.recursion_depth for token in own.tokens}
    depth_other = {token.position: token.recursion_depth for token in other.tokens}
    rows = []
    for text, positions in lessons.repeated(own).items():
        token = own.tokens[positions[0]]
        rows.append(
            {
                say("learn.column_token"): visible_text(text, token.token_bytes),
                say("learn.column_own"): " ".join(str(depth_own[at]) for at in positions),
                say("learn.column_random"): " ".join(str(depth_other[at]) for at in positions),
            }
        )
    return pd.DataFrame(rows).set_index(say("learn.column_token"))


def cache_chart(trace: Trace, key: str) -> None:
    """Draw the tokens that each cache slot keeps after a run."""
    chart = run_heatmaps.cache_heatmap(trace, range(len(trace.tokens)))
    finding = say(
        "learn.chart_cache_finding",
        kept=f"{lesson_measures.kept_share(trace):.0%}",
        bytes=format_bytes(sum(trace.steps[-1].cache_bytes)),
    )
    page_parts.show_chart(replace(chart, finding=finding), key=key)


def rule_rows(material: Material, count: int) -> None:
    """Draw the first sentence's depths under both rules after `count` sentences were read."""
    for rule in ("top_k", "causal"):
        alone, more = material.runs[f"read-{rule}-1"], material.runs[f"read-{rule}-{count}"]
        marks = changed_marks(alone, more)
        size = len(lessons.content(alone))
        st.markdown(
            say(
                f"learn.rule_{rule}",
                count=count,
                total=len(SENTENCES),
                changed=len(marks),
                tokens=size,
            )
        )
        token_depths(more, f"learn_rule_{rule}", marks, size)


def routers_rows(material: Material, seed: int) -> None:
    """Draw the text's depths under the trained router and under random routing."""
    st.markdown(say("lessons.proof_own"))
    token_depths(material.own, "learn_own")
    st.markdown(say("lessons.proof_random", seed=seed))
    token_depths(material.runs[f"read-random-{seed}"], "learn_random")


def _revealed_router(material: Material) -> None:
    raised = material.runs[threshold_run(RAISED_LOGIT)]
    token_depths(raised, "learn_raised", changed_marks(material.own, raised))


def _revealed_choice(material: Material) -> None:
    rule_rows(material, len(SENTENCES))


def _revealed_pays(material: Material) -> None:
    costs = lesson_measures.latency(material.timed)
    left, right = st.columns(2)
    with left:
        page_parts.show_chart(charts_learn.counted(costs), key="learn_counted")
    with right:
        page_parts.show_chart(charts_learn.measured(costs), key="learn_measured")


_REVEALED: dict[str, Callable[[Material], None]] = {
    "router": _revealed_router,
    "choice": _revealed_choice,
    "caches": lambda material: cache_chart(material.own, "learn_cache"),
    "pays": _revealed_pays,
    "proof": lambda material: routers_rows(material, RANDOM_SEEDS[0]),
}


def _flow(trace: Trace) -> str:
    """Return HTML boxes for the path of a token through the model."""
    config = trace.header.config
    boxes = [
        (say("learn.flow_tokens"), "", ""),
        (say("learn.flow_first"), "× " + str(config["num_prelude_layers"]), ""),
        (
            say("learn.flow_block"),
            "× " + str(config["num_layers_per_recursion"]),
            "↻ " + say("learn.flow_passes", R=trace.header.num_recursions),
        ),
        (say("learn.flow_last"), "× " + str(config["num_coda_layers"]), ""),
        (say("learn.flow_next"), "", ""),
    ]
    parts = [
        f'<div class="flow-box{" flow-loop" if loop else ""}{"" if count else " flow-end"}">'
        f"<b>{html.escape(name)}</b> {html.escape(count)}"
        + (f"<div>{html.escape(loop)}</div>" if loop else "")
        + "</div>"
        for name, count, loop in boxes
    ]
    arrow = '<div class="flow-arrow" aria-hidden="true">→</div>'
    return f'<div class="flow">{arrow.join(parts)}</div>'
