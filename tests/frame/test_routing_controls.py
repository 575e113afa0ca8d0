"""The routing widgets: every kind of model is offered what it can follow, and what is chosen reaches the run."""

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from app.frame.routing_controls import read_depths
from mor_core.checkpoints.checkpoint import save_checkpoint
from tests.models import ROUTED, TOKEN_CHOICE, UNROUTED, tiny_model
from tests.parts import await_jobs

ENTRY = str(Path(__file__).resolve().parents[2] / "app" / "main.py")
KINDS = {
    "expert": ({}, ["causal", "top_k", "fixed", "random", "forced"], "causal"),
    "aux": (ROUTED["aux router"], ["causal", "top_k", "fixed", "random", "forced"], "aux"),
    "token": (TOKEN_CHOICE, ["causal", "fixed", "random", "forced"], "argmax"),
    "vanilla": (UNROUTED["vanilla"], None, "none"),
}


@pytest.fixture(scope="module")
def family(tiny_tokenizer, tmp_path_factory):
    root = tmp_path_factory.mktemp("family")
    for name, (fields, _, _) in KINDS.items():
        save_checkpoint(root / name / name, tiny_model(vocab_size=300, **fields), tiny_tokenizer)
    return root


def opened(monkeypatch, family, name):
    monkeypatch.setenv("MOR_CHECKPOINTS", str(family / name))
    page = AppTest.from_file(ENTRY, default_timeout=60).run()
    page.number_input(key="live_tokens").set_value(6)
    page.text_area(key="live_prompt").set_value("Once upon")
    return page


def run(page):
    page.button(key="live_run").click().run()
    job = page.session_state["live_job"]
    await_jobs(page, job)
    return job.trace


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_is_offered_its_rules_and_runs_its_own(monkeypatch, family, name):
    _, offered, routed = KINDS[name]
    page = opened(monkeypatch, family, name)
    boxes = [box for box in page.selectbox if box.key == "live_routing"]
    assert bool(boxes) == (offered is not None)
    if offered:
        assert len(boxes[0].options) == len(offered)
    assert run(page).header.routing["name"] == routed


@pytest.mark.parametrize("name", ["expert", "token"])
def test_forced_depths_reach_the_run(monkeypatch, family, name):
    page = opened(monkeypatch, family, name)
    page.selectbox(key="live_routing").set_value("forced").run()
    page.text_input(key="live_depths").set_value("3, 1 - 2")
    page.selectbox(key="live_gate").set_value("open").run()
    trace = run(page)
    depths = [token.recursion_depth for token in trace.tokens]
    assert (depths[0], depths[1], depths[3]) == (3, 1, 2)
    assert trace.header.routing["gate"] == "open"


@pytest.mark.parametrize("name", ["expert", "aux", "token"])
def test_a_cap_reaches_the_run_and_is_not_offered_with_given_depths(monkeypatch, family, name):
    page = opened(monkeypatch, family, name)
    page.selectbox(key="live_cap").set_value(1)
    trace = run(page)
    depths = {token.recursion_depth for token in trace.tokens} - {None}
    assert depths == {1}
    assert trace.header.routing["max_depth"] == 1
    page.selectbox(key="live_routing").set_value("fixed").run()
    assert not [box for box in page.selectbox if box.key == "live_cap"]


def test_a_wrong_list_of_depths_is_said_and_nothing_runs(monkeypatch, family):
    page = opened(monkeypatch, family, "expert")
    page.selectbox(key="live_routing").set_value("forced").run()
    page.text_input(key="live_depths").set_value("1 7").run()
    page.button(key="live_run").click().run()
    assert "live_job" not in page.session_state or page.session_state["live_job"] is None
    assert any("from 1 to 3" in error.value and "position 1" in error.value for error in page.error)


@pytest.mark.parametrize(
    ("text", "depths"),
    [("1", (1,)), (" 3 1 - 2 ", (3, 1, None, 2)), ("1,2,-", (1, 2, None))],
)
def test_depths_are_read_as_typed(text, depths):
    assert read_depths(text, 3) == (depths, "")


@pytest.mark.parametrize("text", ["", "0", "4", "x", "²", "1.5", "-1", "9" * 5000])
def test_what_is_no_depth_is_named(text):
    depths, problem = read_depths(text, 3)
    assert depths == ()
    assert "from 1 to 3" in problem
    assert len(problem) < 150


def test_the_sliders_logits_become_thresholds_on_scores(monkeypatch, family):
    page = opened(monkeypatch, family, "expert")
    page.slider(key="live_threshold_2").set_value(2.0)
    page.slider(key="live_threshold_3").set_value(-2.0)
    routing = run(page).header.routing
    assert routing["name"] == "causal"
    assert routing["thresholds"] == pytest.approx((0.5, 0.880797, 0.119203), abs=1e-6)
