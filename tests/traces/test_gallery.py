"""Recorded runs: anyone can make them again, each has its words in both languages, and early exits travel with them."""

from dataclasses import replace

import pytest

from app.text.words import entries
from mor_core.generation import record_gallery
from mor_core.model.routing_rules import RoutingRule
from mor_core.traces.gallery import GALLERY, GROUPS, GalleryRun
from mor_core.traces.trace_file import load_trace, save_trace

SHORT = (
    GalleryRun("a-start", "story", "A start", "One thing.", "Once upon", max_new_tokens=5),
    GalleryRun("a-line", "rare", "A line", "Another.", "the old oak tree", "analyse"),
    GalleryRun("a-fixed", "rules", "Fixed", "A control.", "the old oak", "analyse", "fixed:2"),
)


@pytest.fixture
def short(monkeypatch, tiny_loaded, tmp_path):
    """A gallery of three short runs, and a checkpoint whose folder may be written to."""
    monkeypatch.setattr(record_gallery, "GALLERY", SHORT)
    info = replace(tiny_loaded.info, path=tmp_path)
    return replace(tiny_loaded, info=info)


def test_there_are_twelve_runs_or_more_of_every_group():
    assert len(GALLERY) >= 12
    assert {run.group for run in GALLERY} == set(GROUPS)
    assert len({run.slug for run in GALLERY}) == len(GALLERY)


@pytest.mark.parametrize("run", GALLERY, ids=[run.slug for run in GALLERY])
def test_a_run_says_the_same_in_the_words_of_the_app_as_in_its_file(run):
    assert entries()[f"gallery.{run.slug}_title"]["en"] == run.title
    assert entries()[f"gallery.{run.slug}_note"]["en"] == run.note
    RoutingRule.parse(run.routing)


def test_runs_are_recorded_with_title_rule_and_early_exits(short, tmp_path):
    said = []
    paths = record_gallery.record_gallery(short, said.append)
    names = [path.name for path in sorted((tmp_path / "traces").iterdir())]
    assert names == [f"{n:02d}-{run.slug}.mortrace.json.gz" for n, run in enumerate(SHORT, 1)]
    traces = [load_trace(path) for path in paths]
    assert [trace.header.title for trace in traces] == [run.title for run in SHORT]
    assert [trace.header.kind for trace in traces] == ["generate", "analyse", "analyse"]
    assert traces[2].header.routing["name"] == "fixed"
    assert all(trace.header.lens["kind"] == "early exit, untrained" for trace in traces)
    assert len(said) == len(SHORT)


def test_one_run_alone_is_recorded_and_an_unknown_one_is_named(short, tmp_path):
    record_gallery.record_gallery(short, lambda line: None, only=["a-line"])
    assert [path.name for path in (tmp_path / "traces").iterdir()] == ["02-a-line.mortrace.json.gz"]
    with pytest.raises(ValueError, match="no run is called nothing"):
        record_gallery.record_gallery(short, lambda line: None, only=["nothing"])


def test_a_recorded_run_is_kept_with_its_seconds_and_gets_what_it_lacks(short, tmp_path):
    first, *_ = record_gallery.record_gallery(short, lambda line: None)
    trace, whole = load_trace(first), load_trace(first)
    trace.header.lens = {}
    for token in trace.tokens:
        token.lens = []
    trace.steps = [replace(step, latency_s=7.5, dense_flops=None) for step in trace.steps]
    save_trace(trace, first)
    said = []
    record_gallery.record_gallery(short, said.append, missing=True)
    after = load_trace(first)
    assert said[0].startswith("kept")
    assert {step.latency_s for step in after.steps} == {7.5}
    assert [step.dense_flops for step in after.steps] == [s.dense_flops for s in whole.steps]
    assert [token.lens for token in after.tokens] == [token.lens for token in whole.tokens]
    trace.header.checkpoint_sha256 = "0" * 64
    save_trace(trace, first)
    record_gallery.record_gallery(short, said.append, only=["a-start"], missing=True)
    assert said[-1].startswith("recorded"), "a run of other weights is none of these"
    assert load_trace(first).header.checkpoint_sha256 == short.info.sha256


def test_a_run_may_read_what_the_model_wrote_itself(short):
    run = GalleryRun(
        "told", "long", "T", "N", "Once upon", "analyse", max_new_tokens=60, seeds=(1, 2)
    )
    trace = record_gallery.record_run(short, run, RoutingRule.causal())
    text = b"".join(bytes.fromhex(t.token_bytes) for t in trace.tokens if not t.special)
    assert text.count(b"Once upon") == 2
    assert len(trace.header.windows) > 1
    assert {step.phase for step in trace.steps} == {"prefill"}
