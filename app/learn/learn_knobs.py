"""The control of each lesson's "try" step: every setting shows a recorded run or a measured point."""

from collections.abc import Callable

import streamlit as st

from app.frame import page_parts
from app.learn import charts_learn, lesson_measures, lessons
from app.learn import learn_exhibits as exhibits
from app.learn.lesson_facts import SHARED, Material
from app.learn.lessons import Lesson
from app.style.theme import format_bytes, format_flops
from app.text.words import say
from mor_core.generation.lesson_runs import (
    CAUSAL_RUN,
    DEPTHS,
    RANDOM_SEEDS,
    SENTENCES,
    THRESHOLD_LOGITS,
    threshold_run,
)
from mor_core.traces.trace import Trace


def draw(lesson: Lesson, material: Material) -> None:
    """Draw a lesson's control and its effect."""
    _KNOBS[lesson.name](material)


def _layers(material: Material) -> None:
    names = [f"read-depth-{depth}" for depth in DEPTHS] + [CAUSAL_RUN]
    labels = [say("learn.knob_depth", depth=depth) for depth in DEPTHS] + [say("learn.knob_own")]
    name = _choose("passes", names, labels)
    trace = material.runs[name]
    exhibits.token_depths(trace, "learn_passes_row")
    depths = [t.recursion_depth for t in lessons.content(trace) if t.recursion_depth]
    layers = sum(lesson_measures.applied_layers(trace, depth) for depth in depths) / len(depths)
    _metrics(
        (say("learn.metric_layers"), f"{layers:.1f}"),
        (say("learn.metric_flops"), _flops_share(trace)),
        _surprise(trace),
    )


def _router(material: Material) -> None:
    labels = [charts_learn.threshold_label(logit) for logit in THRESHOLD_LOGITS]
    label = st.select_slider(
        say("learn.knob_threshold"),
        labels,
        value=labels[THRESHOLD_LOGITS.index(0)],
        key="learn_threshold",
    )
    trace = material.runs[threshold_run(THRESHOLD_LOGITS[labels.index(label)])]
    marks = exhibits.changed_marks(material.own, trace)
    exhibits.token_depths(trace, "learn_threshold_row", marks)
    _metrics(
        (say("learn.metric_changed"), str(len(marks))),
        (say("learn.metric_flops"), _flops_share(trace)),
        _surprise(trace),
    )


def _choice(material: Material) -> None:
    counts = list(range(1, len(SENTENCES) + 1))
    count = st.select_slider(say("learn.knob_sentences"), counts, key="learn_sentences")
    exhibits.rule_rows(material, count)


def _caches(material: Material) -> None:
    recursions = material.own.header.num_recursions
    names = [CAUSAL_RUN, f"read-depth-{recursions}", SHARED]
    labels = [
        say("learn.cache_own"),
        say("learn.cache_depth", R=recursions),
        say("learn.cache_shared"),
    ]
    trace = material.runs[_choose("cache", names, labels)]
    exhibits.cache_chart(trace, "learn_cache_knob")
    _metrics(
        (say("learn.metric_cache"), f"{lesson_measures.kept_share(trace):.0%}"),
        (say("learn.metric_bytes"), format_bytes(sum(trace.steps[-1].cache_bytes))),
        _surprise(trace),
    )


def _pays(material: Material) -> None:
    points = material.evaluation["threshold_sweep"]
    labels = [charts_learn.threshold_label(point["threshold_logit"]) for point in points]
    trained = next(i for i, point in enumerate(points) if point["threshold_logit"] == 0)
    label = st.select_slider(
        say("learn.knob_threshold"), labels, value=labels[trained], key="learn_sweep_at"
    )
    point = points[labels.index(label)]
    _metrics(
        (say("learn.metric_flops_token"), format_flops(point["active_flops_per_token"])),
        (say("learn.metric_loss"), f"{point['nll']:.3f}"),
        (say("learn.metric_depth"), f"{point['mean_depth']:.2f}"),
    )
    page_parts.show_chart(charts_learn.sweep(points, labels.index(label)), key="learn_sweep")


def _proof(material: Material) -> None:
    labels = [str(seed) for seed in RANDOM_SEEDS]
    seed = int(_choose("seed", labels, labels))
    other = material.runs[f"read-random-{seed}"]
    st.table(exhibits.repeated_table(material.own, other))
    exhibits.token_depths(other, "learn_random")


def _choose(name: str, values: list[str], labels: list[str]) -> str:
    chosen = st.segmented_control(
        say(f"learn.knob_{name}"),
        values,
        format_func=lambda value: labels[values.index(value)],
        default=values[0],
        required=True,
        key=f"learn_{name}",
    )
    return chosen or values[0]


def _metrics(*shown: tuple[str, str]) -> None:
    for column, (label, value) in zip(st.columns(len(shown)), shown, strict=True):
        column.metric(label, value)


def _surprise(trace: Trace) -> tuple[str, str]:
    count = len(lessons.content(trace))
    return say("learn.metric_surprise", count=count), f"{lessons.surprise(trace):.2f}"


def _flops_share(trace: Trace) -> str:
    spent = sum(step.active_flops for step in trace.steps)
    return f"{spent / trace.header.full_depth_flops:.0%}"


_KNOBS: dict[str, Callable[[Material], None]] = {
    "layers": _layers,
    "router": _router,
    "choice": _choice,
    "caches": _caches,
    "pays": _pays,
    "proof": _proof,
}
