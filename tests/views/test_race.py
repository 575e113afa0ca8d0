"""The Race from the entry script: two real small models at once, what the browser is given, and how it ends."""

import json
import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from app.runs import session
from app.runs.jobs import job_manager
from app.runs.session import Race
from app.views.race_view import plainest
from mor_core.server.jobs import JobStatus, job_batch
from mor_core.traces.trace import TRACE_SUFFIX
from mor_core.traces.trace_file import save_trace
from tests.parts import components, unpacked
from tests.scripted import ENDLESS, scripted_run, scripted_trace

ENTRY = str(Path(__file__).resolve().parents[2] / "app" / "main.py")


@pytest.fixture
def checkpoints(tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One small model under two names, each with a recorded run."""
    for name in ("one", "two"):
        shutil.copytree(tiny_checkpoint, tmp_path / name)
        save_trace(scripted_trace(), tmp_path / name / "traces" / f"first{TRACE_SUFFIX}")
    monkeypatch.setenv("MOR_CHECKPOINTS", str(tmp_path))
    monkeypatch.setenv("MOR_DEVICE", "cpu")
    monkeypatch.delenv("MOR_STREAM", raising=False)
    return tmp_path


@pytest.fixture
def page(checkpoints: Path) -> AppTest:
    return opened()


def opened() -> AppTest:
    page = AppTest.from_file(ENTRY, default_timeout=60).run()
    page.button_group(key="live_mode").set_value("Race").run()
    assert not page.exception
    return page


def race_data(page: AppTest) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(components(page)[0].proto.json)
    return data


def start(page: AppTest) -> Race | None:
    page.button(key="race_start").click().run()
    assert not page.exception
    return page.session_state["race"] if "race" in page.session_state else None  # noqa: SIM401


def finished(page: AppTest) -> Race:
    race: Race = page.session_state["race"]
    end = time.monotonic() + 60
    while not race.is_finished:
        assert time.monotonic() < end, "the race did not end"
        time.sleep(0.05)
        page.run()
    page.run()
    assert not page.exception
    return race


def test_first_paint_is_two_recorded_runs(page: AppTest) -> None:
    data = race_data(page)
    assert (data["badge"], data["live"], data["unit"]) == ("RECORDED", False, "recursions")
    for lane in data["lanes"]:
        assert len(lane["batch"]["events"][1]["completed"]) == len(scripted_trace().tokens)


def test_both_models_continue_one_prompt_with_one_seed(page: AppTest) -> None:
    page.number_input(key="live_tokens").set_value(6)
    page.number_input(key="live_seed").set_value(5)
    page.text_area(key=session.PROMPT).set_value("The old gate")
    start(page)
    race = finished(page)
    assert race.names == ("two", "one"), "A runs beside the checkpoint of the settings"
    traces = [job.trace for job in race.jobs]
    assert [job.status for job in race.jobs] == [JobStatus.DONE] * 2
    assert [trace.header.sampling["seed"] for trace in traces if trace] == [5, 5]
    texts = [[t.text for t in trace.tokens] for trace in traces if trace]
    assert texts[0] == texts[1], "the same weights say the same"
    data = race_data(page)
    assert (data["badge"], data["live"]) == ("LIVE", True)
    assert data["race"] == race.id
    assert [lane["run"] for lane in data["lanes"]] == [job.id for job in race.jobs]
    for lane in data["lanes"]:
        assert unpacked(lane["batch"])[-1]["kind"] == "end"
    assert not page.button(key="race_start").disabled


def test_a_browser_gets_of_both_runs_what_it_has_not(page: AppTest) -> None:
    page.number_input(key="live_tokens").set_value(12)
    start(page)
    race = finished(page)
    first, second = race.jobs
    asked = {"question": 7, first.id: len(first.events) - 2, second.id: len(second.events)}
    page.session_state["live_race"] = {"asks": asked}
    page.run()
    for lane, job in zip(race_data(page)["lanes"], race.jobs, strict=True):
        batch = lane["batch"]
        assert (batch["from"], batch["answers"]) == (asked[job.id], 7)
        assert unpacked(batch) == json.loads(json.dumps(job_batch(job, asked[job.id])["events"]))


def test_stop_ends_both(page: AppTest) -> None:
    jobs = tuple(
        job_manager().submit(name, scripted_run(length=ENDLESS, delay_s=0.005)) for name in "ab"
    )
    page.session_state["race"] = Race(jobs, ("one", "two"))
    page.run()
    assert page.button(key="race_start").disabled
    page.button(key="race_stop").click().run()
    race = finished(page)
    assert [job.status for job in race.jobs] == [JobStatus.CANCELLED] * 2


def test_runs_can_be_compared(page: AppTest) -> None:
    page.number_input(key="live_tokens").set_value(4)
    start(page)
    finished(page)
    page.button(key="race_compare").click().run()
    assert not page.exception
    data = race_data(page)
    assert data["badge"] == "LIVE"
    assert len(data["sides"]) == 2
    assert not data["diverges"], "the same weights say the same"


def test_bad_prompt_gets_a_message_and_starts_nothing(page: AppTest) -> None:
    page.text_area(key=session.PROMPT).set_value(" ")
    assert start(page) is None
    assert "must not be empty" in page.error[0].value.replace("\\", "")


def test_a_race_needs_two_checkpoints(checkpoints: Path) -> None:
    shutil.rmtree(checkpoints / "two")
    page = opened()
    assert "two checkpoints" in page.info[0].value
    assert page.button(key="race_start").disabled


def test_leaving_the_race_leaves_the_single_run(page: AppTest) -> None:
    page.button_group(key="live_mode").set_value("One run").run()
    assert not page.exception
    assert page.button(key="live_run")


def test_a_race_is_against_the_plain_transformer_if_there_is_one() -> None:
    def member(name: str, **config: Any) -> Any:
        return SimpleNamespace(name=name, config=config)

    routed = member("mor", router_type="expert_choice", num_recursions=3, num_experts=1)
    recursive = member("recursive", router_type="none", num_recursions=3, num_experts=1)
    switch = member("switch", router_type="none", num_recursions=1, num_experts=4)
    plain = member("vanilla", router_type="none", num_recursions=1, num_experts=1)
    assert plainest([routed, recursive, switch, plain]) is plain
    assert plainest([routed, recursive, switch]) is recursive
    assert plainest([routed]) is routed
