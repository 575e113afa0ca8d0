"""One choice of a run for Explore, Router and KV cache: sources, links of now and of before, runs from elsewhere."""

import shutil
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from mor_core.server.manager import JobManager
from mor_core.traces.trace import TRACE_SUFFIX
from mor_core.traces.trace_file import load_trace, pack_trace, save_trace
from tests.scripted import scripted_run, scripted_trace
from tests.views.test_pages import ENTRY, checkpoints, choose, opened, recorded_checkpoint, shown
from tests.waiting import wait_for

__all__ = ["checkpoints", "recorded_checkpoint"]  # fixtures

PAGES = ("explore", "router", "kv_cache")


def linked(name: str, **parameters: str) -> AppTest:
    page = AppTest.from_file(ENTRY, default_timeout=60)
    for key, value in parameters.items():
        page.query_params[key] = value
    page.switch_page(f"../pages/{name}.py").run()
    assert not page.exception
    return page


@pytest.fixture
def two_checkpoints(checkpoints: Path) -> Path:
    shutil.copytree(checkpoints / "tiny", checkpoints / "tiny-b")
    return checkpoints


@pytest.mark.parametrize("name", PAGES)
def test_each_page_opens_links_of_now_and_of_before(two_checkpoints: Path, name: str) -> None:
    for parameters in ({"run": "tiny-b/1"}, {"model": "tiny-b", "trace": "Second"}):
        page = linked(name, **parameters)
        assert page.selectbox(key="run_checkpoint").value == "tiny-b"
        assert page.button_group(key="run_tiny-b").value == 1
        assert page.query_params["run"] == "tiny-b/1"
        assert not {"model", "trace"} & set(page.query_params)
    page = linked(name, model="tiny-b")
    assert page.query_params["run"] == "tiny-b/0"
    page = linked(name, run="tiny-b/nothing")
    assert "names the run nothing" in shown(page)
    assert page.query_params["run"] == "tiny-b/0"


def test_the_pages_look_at_the_same_run(two_checkpoints: Path) -> None:
    page = linked("router", run="tiny-b/1")
    page.selectbox(key="run_checkpoint").set_value("tiny").run()
    choose(page, "run_tiny", 1)
    page.switch_page("../pages/kv_cache.py").run()
    assert page.query_params["run"] == "tiny/1"


def test_a_checkpoint_without_runs_keeps_its_place_in_the_link(two_checkpoints: Path) -> None:
    shutil.rmtree(two_checkpoints / "tiny" / "traces")
    page = opened("router")
    assert page.selectbox(key="run_checkpoint").value == "tiny-b", "the first that has runs"
    page.selectbox(key="run_checkpoint").set_value("tiny").run()
    assert page.query_params["model"] == "tiny"
    assert "run" not in page.query_params
    assert "mor record" in shown(page)
    assert "config.json" in shown(page), "the facts on the routers need no run"


@pytest.mark.parametrize("name", PAGES)
def test_a_run_that_ended_on_live_is_there(checkpoints: Path, name: str) -> None:
    page = choose(opened(name), "source", "Run of Live")
    assert "Press Run there" in shown(page)
    job = JobManager().submit("model", scripted_run())
    wait_for(lambda: job.is_finished)
    page.session_state["live_job"] = job
    page.run()
    assert not page.exception
    assert "Press Run there" not in shown(page)
    assert "run" not in page.query_params
    if name != "explore":
        assert "scripted, is not among those here" in shown(page)


@pytest.mark.parametrize("name", PAGES)
def test_an_opened_file_is_shown_with_its_checkpoint_if_that_is_here(
    checkpoints: Path, name: str
) -> None:
    page = choose(opened(name), "source", "Trace file")
    own = load_trace(checkpoints / "tiny" / "traces" / f"0{TRACE_SUFFIX}")
    for trace, is_here in ((own, True), (scripted_trace(), False)):
        page.file_uploader(key="run_file").set_value(
            (f"run{TRACE_SUFFIX}", pack_trace(trace), "application/gzip")
        ).run()
        assert not page.exception
        assert not page.error
        if name != "explore":
            assert ("is not among those here" not in shown(page)) == is_here


@pytest.mark.parametrize("name", PAGES)
def test_a_recorded_run_without_tokens_is_named(checkpoints: Path, name: str) -> None:
    trace = scripted_trace()
    trace.tokens, trace.steps, trace.header.title = [], [], "Empty"
    save_trace(trace, checkpoints / "tiny" / "traces" / f"2{TRACE_SUFFIX}")
    page = choose(opened(name), "run_tiny", 2)
    assert f"2{TRACE_SUFFIX} contains no token" in page.error[0].value.replace("\\", "")
