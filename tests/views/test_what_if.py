"""What if: what can be changed of a run, that nothing else changes, and that the run before stays to be compared."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from app.views import what_if
from mor_core.checkpoints.checkpoint import describe_checkpoint
from mor_core.model.router_types import router_traits
from mor_core.model.routing_rules import RoutingRule
from mor_core.server.jobs import Job
from mor_core.traces.trace import Trace
from tests.parts import await_jobs

ENTRY = str(Path(__file__).resolve().parents[2] / "app" / "main.py")


@pytest.fixture
def page(tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    shutil.copytree(tiny_checkpoint, tmp_path / "tiny")
    monkeypatch.setenv("MOR_CHECKPOINTS", str(tmp_path))
    monkeypatch.setenv("MOR_DEVICE", "cpu")
    monkeypatch.delenv("MOR_STREAM", raising=False)
    page = AppTest.from_file(ENTRY, default_timeout=60).run()
    page.number_input(key="live_tokens").set_value(12)
    page.button(key="live_run").click().run()
    assert not page.exception
    return page


def finished(page: AppTest) -> Trace:
    job: Job = page.session_state["live_job"]
    await_jobs(page, job)
    assert job.trace is not None
    return job.trace


def depths(trace: Trace) -> set[int]:
    return {token.recursion_depth for token in trace.tokens if token.recursion_depth is not None}


def test_a_cap_and_a_forced_depth_hold_and_change_nothing_else(page: AppTest) -> None:
    first = finished(page)
    for change, allowed in (("cap", {1, 2}), ("force", {2})):
        page.selectbox(key="whatif_change").set_value(change).run()
        page.number_input(key="whatif_depth").set_value(2)
        page.button(key="whatif_run").click().run()
        again = finished(page)
        assert depths(again) <= allowed
        assert again.header.sampling == first.header.sampling
        assert again.header.routing.get("max_depth") == (2 if change == "cap" else None)
        prompts = [
            [token.token_id for token in trace.tokens if token.phase == "prefill"]
            for trace in (first, again)
        ]
        assert prompts[0] == prompts[1]


def test_a_cap_keeps_the_rule_of_the_run_unless_that_gave_depths() -> None:
    asked = RoutingRule.causal((0.5, 0.9, 0.1))
    assert what_if.capped(asked, 2) == replace(asked, max_depth=2)
    assert what_if.capped(RoutingRule.random(4, "open"), 1).seed == 4
    for given in (RoutingRule.fixed(3), RoutingRule.forced((3,))):
        assert what_if.capped(given, 2) == RoutingRule.causal().capped(2)


def test_the_run_before_is_kept_and_compared(page: AppTest) -> None:
    first = finished(page)
    assert not [toggle for toggle in page.toggle if toggle.key == "whatif_compare"]
    page.slider(key="whatif_threshold_2").set_value(8.0)
    page.slider(key="whatif_threshold_3").set_value(8.0)
    page.button(key="whatif_run").click().run()
    second = finished(page)
    assert page.session_state["kept_runs"] == [first]
    assert depths(second) == {1}
    page.toggle(key="whatif_compare").set_value(True).run()
    assert not page.exception
    assert any("recursions" in element.value for element in page.markdown)


def test_what_needs_a_router_or_other_weights_is_said(tiny_checkpoint: Path) -> None:
    assert what_if.changes_for(router_traits({"router_type": "expert_choice"})) == [
        "threshold",
        "cap",
        "force",
    ]
    assert what_if.changes_for(router_traits({"router_type": "token_choice"})) == ["cap", "force"]
    assert what_if.changes_for(router_traits({"router_type": "none"})) == []
    info = describe_checkpoint(tiny_checkpoint)
    assert "trained with sharing" in what_if.cache_note(info, [info])
    other = describe_checkpoint(tiny_checkpoint)
    object.__setattr__(other, "config", {**other.config, "kv_strategy": "shared"})
    object.__setattr__(other, "name", "shares-keys")
    assert "shares-keys" in what_if.cache_note(info, [info, other])
