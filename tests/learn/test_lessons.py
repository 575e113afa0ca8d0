"""The lessons' scores by hand, and every number of their words against the file that it comes from."""

import json
import re
from itertools import combinations
from statistics import median
from typing import Any

import pytest

from app.learn import lesson_facts, lessons
from app.learn.lesson_facts import Material, facts, truth
from app.learn.lesson_scores import NumberScore, PickScore, Scale, score_picks, verdict
from app.learn.lessons import LESSONS, Lesson
from app.runs import resources
from app.text.words import entries
from mor_core.checkpoints.checkpoint import list_checkpoints
from mor_core.generation.lesson_runs import (
    CAUSAL_RUN,
    FOLDER,
    SENTENCES,
    THRESHOLD_LOGITS,
    TIMED,
    lesson_runs,
    record_lesson,
    threshold_run,
)
from mor_core.traces.trace import TRACE_SUFFIX, Trace
from mor_core.traces.trace_file import load_trace

INFO = list_checkpoints()[0]
each_lesson = pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.name)


def run(name: str) -> Trace:
    return load_trace(INFO.path / FOLDER / f"{name}{TRACE_SUFFIX}")


@pytest.fixture(scope="module")
def material() -> Material:
    runs = {name: load_trace(path) for name, path in resources.lesson_traces(INFO.path).items()}
    return Material(INFO.name, runs, INFO.evaluation)


@pytest.fixture(scope="module")
def evaluation() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((INFO.path / "evaluation.json").read_text())
    return found


def more(evaluation: dict[str, Any], name: str, depth: int | None = None, gate: str = "learned"):
    rules = [
        result["more_nats_than_own_rule"]
        for result in evaluation["results"]
        if result["routing"]["name"] == name
        and result["routing"]["gate"] == gate
        and result["routing"].get("depth") == depth
    ]
    assert len(rules) == 1
    return rules[0]


def depths(trace: Trace) -> list[int | None]:
    return [token.recursion_depth for token in trace.tokens if not token.special]


# Scores


def test_blind_picking_is_counted_as_by_hand() -> None:
    score = score_picks([1, 2, 5], targets=[1, 5, 6], candidates=range(8))
    assert (score.hits, score.picked, score.targets, score.candidates) == (2, 3, 3, 8)
    tries = list(combinations(range(8), 3))
    as_good = [picks for picks in tries if len({1, 5, 6} & set(picks)) >= 2]
    assert score.probability == pytest.approx(len(as_good) / len(tries))
    hits = [len({1, 5, 6} & set(picks)) for picks in tries]
    assert score.expected == pytest.approx(sum(hits) / len(tries))


def test_no_hit_is_certain_and_all_hits_are_rare() -> None:
    assert PickScore(0, 4, 5, 20).probability == pytest.approx(1)
    assert PickScore(4, 4, 4, 20).probability == pytest.approx(1 / 4845)


def test_what_is_no_candidate_counts_for_nothing() -> None:
    assert score_picks([0, 99], targets=[99], candidates=range(3)) == PickScore(0, 1, 0, 3)


@pytest.mark.parametrize(
    ("guess", "expected"), [(5, 1 / 10), (6, 3 / 10), (4, 3 / 10), (10, 1), (1, 9 / 10)]
)
def test_number_is_held_against_values_as_close(guess: float, expected: float) -> None:
    score = NumberScore(guess, 5, Scale(0, 10, 1, ".0f"))
    assert score.probability == pytest.approx(expected)


def test_values_of_a_scale_leave_out_its_low_end() -> None:
    assert Scale(0, 0.3, 0.1, ".1f").values == pytest.approx([0.1, 0.2, 0.3])


def test_verdict_follows_the_probability() -> None:
    assert [verdict(p) for p in (0.05, 0.051, 0.25, 0.26)] == ["good", "fair", "fair", "chance"]


# Links


def test_steps_lead_through_all_lessons() -> None:
    place, count = (1, lessons.READ), 1
    while lessons.neighbours(*place)[1]:
        before = place
        place = lessons.neighbours(*place)[1]
        assert lessons.neighbours(*place)[0] == before
        assert lessons.parse_link(str(place[0]), lessons.step_link(place[1])) == place
        count += 1
    assert count == len(LESSONS) * len(lessons.STEPS)


# Runs


def test_recorded_runs_are_those_listed_and_of_these_weights() -> None:
    found = {path.name.removesuffix(TRACE_SUFFIX) for path in (INFO.path / FOLDER).iterdir()}
    assert found == {run.name for run in lesson_runs()}, "record them again: mor lessons"
    for name in found:
        trace = run(name)
        assert trace.header.checkpoint_sha256 == INFO.sha256, "record them again: mor lessons"
        assert lessons.is_lesson_text(trace) == (name not in TIMED)


def test_a_beginning_has_the_tokens_of_the_whole() -> None:
    whole = [token.token_id for token in run(CAUSAL_RUN).tokens]
    for count in range(1, len(SENTENCES) + 1):
        part = [token.token_id for token in run(f"read-top_k-{count}").tokens]
        assert part == whole[: len(part)]


@pytest.mark.parametrize(
    "name", ["read-threshold-2", "read-top_k-1", "read-random-3", "read-depth-2", "read-shared"]
)
def test_recording_again_gives_the_same_run(name: str) -> None:
    from mor_core.checkpoints.checkpoint import load_checkpoint

    again = record_lesson(
        load_checkpoint(INFO.path), next(run for run in lesson_runs() if run.name == name)
    )
    kept = run(name)
    assert depths(again) == depths(kept)
    assert again.steps[-1].cache_bytes == kept.steps[-1].cache_bytes
    assert lessons.surprise(again) == pytest.approx(lessons.surprise(kept), abs=1e-4)


def test_thresholds_are_the_ones_of_the_knob() -> None:
    for logit in THRESHOLD_LOGITS:
        rule = run(threshold_run(logit)).header.routing
        assert rule["thresholds"] == pytest.approx([1 / (1 + 2.718281828**-logit)])


# Numbers


@each_lesson
def test_words_type_no_measured_number(lesson: Lesson) -> None:
    for key, texts in entries().items():
        if key.startswith(f"lessons.{lesson.name}_"):
            for text in texts.values():
                typed = re.sub(r"\{\w+\}", "", text)
                allowed = {"100%", "95%"}  # the plain cache as the unit, the level of an interval
                found = set(re.findall(r"\d+(?:[.,]\d+)+|\d+ ?%|\d{2,}", typed)) - allowed
                assert not found, (key, found)


@each_lesson
def test_words_find_all_their_numbers(lesson: Lesson, material: Material) -> None:
    known = facts(lesson, material)
    for key, texts in entries().items():
        if key.startswith(f"lessons.{lesson.name}_"):
            for text in texts.values():
                assert "{" not in text.format(**known, seed=0)


@each_lesson
def test_truth_lies_on_the_scale(lesson: Lesson, material: Material) -> None:
    if lesson.scale:
        assert lesson.scale.low < truth(lesson, material) < lesson.scale.high


def test_numbers_of_lesson_1(material: Material, evaluation: dict[str, Any]) -> None:
    found = facts(LESSONS[0], material)
    config = json.loads((INFO.path / "config.json").read_text())
    stored = (
        config["num_prelude_layers"]
        + config["num_layers_per_recursion"]
        + config["num_coda_layers"]
    )
    most = stored + config["num_layers_per_recursion"] * (config["num_recursions"] - 1)
    assert (found["stored"], found["least"], found["most"]) == (str(stored), str(stored), str(most))
    known = depths(run(CAUSAL_RUN))
    assert found["tokens"] == str(len(known))
    assert found["deep"] == str(known.count(config["num_recursions"]))
    assert len(lesson_facts.targets(LESSONS[0], material)) == int(found["deep"])
    marks = sum(not any(map(str.isalnum, t.text)) for t in run(CAUSAL_RUN).tokens if not t.special)
    assert found["marks"] == str(marks)
    assert int(found["deep_marks"]) + int(found["deep_words"]) == int(found["deep"])
    assert found["more_all"] == f"{more(evaluation, 'fixed', 3)['nll_nats_per_token']:.3f}"
    assert found["held_out"] == f"{evaluation['results'][0]['num_tokens']:,}"


def test_numbers_of_lesson_2(material: Material) -> None:
    found = facts(LESSONS[1], material)
    own, raised = depths(run(CAUSAL_RUN)), depths(run("read-threshold-2"))
    changed = sum(a != b for a, b in zip(own, raised, strict=True))
    assert found["changed"] == str(changed)
    assert truth(LESSONS[1], material) == changed
    assert LESSONS[1].scale
    assert LESSONS[1].scale.high >= len(own)
    scores = [s for t in run(CAUSAL_RUN).tokens if not t.special for s in t.router_scores[1:]]
    computed = [score for score in scores if score is not None]
    assert found["scores"] == str(len(computed))
    assert found["decided"] == str(sum(s < 0.1 or s > 0.9 for s in computed))


def test_numbers_of_lesson_3(material: Material, evaluation: dict[str, Any]) -> None:
    found = facts(LESSONS[2], material)
    alone, whole = depths(run("read-top_k-1")), depths(run("read-top_k-6"))
    assert found["moved"] == str(sum(a != b for a, b in zip(alone, whole, strict=False)))
    alone, whole = depths(run("read-causal-1")), depths(run(CAUSAL_RUN))
    assert alone == whole[: len(alone)], "the causal rule sees no future"
    assert found["moved_causal"] == "0"
    agreement = evaluation["router"]["topk_threshold_agreement"]
    assert (found["agreement_2"], found["agreement_3"]) == tuple(f"{a:.1%}" for a in agreement[1:])
    gain = -more(evaluation, "top_k")["nll_nats_per_token"]
    assert gain > 0, "an answer says that top-k is better"
    assert found["better_top_k"] == f"{gain:.4f}"


def test_numbers_of_lesson_4(material: Material) -> None:
    found, own, shared = facts(LESSONS[3], material), run(CAUSAL_RUN), run("read-shared")
    share = sum(own.steps[-1].cache_bytes) / own.header.vanilla_kv_bytes
    assert truth(LESSONS[3], material) == pytest.approx(100 * share)
    assert found["kept"] == f"{share:.0%}"
    assert shared.header.kv_strategy == "shared"
    assert found["shared_kept"] == (
        f"{sum(shared.steps[-1].cache_bytes) / shared.header.vanilla_kv_bytes:.0%}"
    )
    assert lessons.surprise(shared) > lessons.surprise(own), "the words say that it rises"
    probabilities = [t.log_probability for t in own.tokens if not t.special]
    assert found["own_surprise"] == f"{-sum(probabilities) / len(probabilities):.3f}"


def test_numbers_of_lesson_5(material: Material, evaluation: dict[str, Any]) -> None:
    found = facts(LESSONS[4], material)
    seconds: dict[int, list[float]] = {1: [], 2: [], 3: []}
    flops: dict[int, list[int]] = {1: [], 2: [], 3: []}
    for name in TIMED:
        trace = run(name)
        for step in trace.steps[1:]:
            depth = trace.tokens[step.first_position].recursion_depth
            seconds[depth].append(step.latency_s)
            flops[depth].append(step.active_flops)
    count = sum(map(len, seconds.values()))
    assert found["steps"] == f"{count:,}"
    middle = {depth: median(values) for depth, values in seconds.items()}
    spent = sum(middle[depth] * len(values) for depth, values in seconds.items())
    assert truth(LESSONS[4], material) == pytest.approx(100 * (1 - spent / (count * middle[3])))
    full = count * sum(flops[3]) / len(flops[3])
    assert found["flops_saved"] == f"{1 - sum(map(sum, flops.values())) / full:.0%}"
    assert found["seconds_ratio"] == f"{middle[3] / middle[1]:.2f}"
    for depth in (1, 2, 3):
        gap = more(evaluation, "fixed", depth)["nll_nats_per_token"]
        assert found[f"more_{depth}"] == f"{gap:.3f}"
        assert gap > 0, "the words say more"
    own, twice = evaluation["results"][0], evaluation["results"][3]
    assert twice["routing"] == {"name": "fixed", "gate": "learned", "depth": 2}
    assert own["active_flops_per_token"] < twice["active_flops_per_token"], "a little less than 2"


def test_numbers_of_lesson_6(material: Material, evaluation: dict[str, Any]) -> None:
    found, random = facts(LESSONS[5], material), more(evaluation, "random")
    assert truth(LESSONS[5], material) == random["nll_nats_per_token"]
    assert found["gap"] == f"{random['nll_nats_per_token']:.3f}"
    assert [found["gap_low"], found["gap_high"]] == [f"{v:.3f}" for v in random["interval"]]
    gap_open = more(evaluation, "random", gate="open")["nll_nats_per_token"]
    assert found["gap_open"] == f"{gap_open:.3f}"
    told = evaluation["depths"]["explained_by_token"]
    assert found["explained"] == f"{told['epsilon_squared']:.0%}"
    assert found["types"] == f"{told['num_types']:,}"
    rank = evaluation["depths"]["by_next_surprisal"]["rank_correlation"]
    assert found["correlation"] == f"{rank:.2f}"
    assert rank < 0.5, "an answer says far from enough"
