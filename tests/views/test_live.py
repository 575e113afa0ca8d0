"""The Live page from its entry script: first paint, a run of a real small model, and bad input."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from app.frame.messages import as_text
from app.runs import model_cache, resources, session
from app.runs.jobs import job_manager
from app.views.controls import MAX_PROMPT_CHARACTERS, prompt_problem
from mor_core.checkpoints.checkpoint import describe_checkpoint
from mor_core.checkpoints.placement import Placement
from mor_core.server.jobs import Job, JobStatus
from mor_core.traces.presets import PRESETS
from mor_core.traces.trace import TRACE_SUFFIX
from mor_core.traces.trace_file import save_trace
from tests.parts import await_jobs, components, unpacked
from tests.scripted import ENDLESS, scripted_run, scripted_trace

ROOT = Path(__file__).resolve().parents[2]
ENTRY = str(ROOT / "app" / "main.py")


@pytest.fixture
def checkpoints(tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one small model and one recorded trace."""
    shutil.copytree(tiny_checkpoint, tmp_path / "tiny")
    save_trace(scripted_trace(), tmp_path / "tiny" / "traces" / f"first{TRACE_SUFFIX}")
    monkeypatch.setenv("MOR_CHECKPOINTS", str(tmp_path))
    monkeypatch.setenv("MOR_DEVICE", "cpu")
    monkeypatch.delenv("MOR_STREAM", raising=False)
    return tmp_path


@pytest.fixture
def page(checkpoints: Path) -> AppTest:
    return opened()


def opened() -> AppTest:
    page = AppTest.from_file(ENTRY, default_timeout=60).run()
    assert not page.exception
    return page


def strip_data(page: AppTest) -> dict[str, Any]:
    return json.loads(components(page)[0].proto.json)


def press_run(page: AppTest) -> Job | None:
    page.button(key="live_run").click().run()
    assert not page.exception
    return page.session_state["live_job"] if "live_job" in page.session_state else None  # noqa: SIM401


def finished(page: AppTest) -> Job:
    job: Job = page.session_state["live_job"]
    await_jobs(page, job)
    return job


def shown_errors(page: AppTest) -> str:
    return " ".join(error.value.replace("\\", "") for error in page.error)


def test_first_paint_is_the_recorded_run(page: AppTest) -> None:
    data = strip_data(page)
    assert data["badge"] == "RECORDED"
    assert len(data["batch"]["events"][1]["completed"]) == len(scripted_trace().tokens)
    assert not page.error


def test_first_paint_needs_no_torch(checkpoints: Path) -> None:
    script = (
        "import sys; from streamlit.testing.v1 import AppTest; "
        f"page = AppTest.from_file({ENTRY!r}, default_timeout=60).run(); "
        "assert len(page.get('bidi_component')) == 2; "
        "print('torch' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip().splitlines()[-1] == "False"


def test_run_reaches_the_browser_and_can_be_kept(page: AppTest) -> None:
    page.number_input(key="live_tokens").set_value(12)
    press_run(page)
    job = finished(page)
    assert job.status is JobStatus.DONE
    assert job.trace is not None
    assert sum(token.phase == "decode" for token in job.trace.tokens) in range(1, 13)
    data = strip_data(page)
    assert (data["run"], data["badge"]) == (job.id, "LIVE")
    assert unpacked(data["batch"])[-1]["kind"] == "end"
    labels = [button.label for button in page.get("download_button")]
    assert labels == ["Download trace", "Download CSV", "Download page (HTML)"]


def test_run_can_be_pressed_again_however_fast_a_stop_is(
    page: AppTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_manager().submit("scripted", scripted_run(length=ENDLESS, delay_s=0.005))
    page.session_state["live_job"] = job
    page.run()
    assert page.button(key="live_run").disabled
    stop = type(job).cancel

    def stop_and_finish(self: Job) -> None:
        stop(self)
        while not self.is_finished:
            time.sleep(0.005)

    monkeypatch.setattr(type(job), "cancel", stop_and_finish)
    page.button(key="live_stop").click().run()
    assert job.is_finished
    assert not page.button(key="live_run").disabled


def test_same_seed_gives_the_same_run(page: AppTest) -> None:
    ids = []
    for _ in range(2):
        page.number_input(key="live_tokens").set_value(8)
        press_run(page)
        trace = finished(page).trace
        assert trace is not None
        ids.append([(token.token_id, token.recursion_depth) for token in trace.tokens])
    assert ids[0] == ids[1]


def test_threshold_reaches_the_model(page: AppTest) -> None:
    means = []
    for logit in (8.0, -8.0):
        for recursion in (2, 3):
            page.slider(key=f"live_threshold_{recursion}").set_value(logit)
        page.number_input(key="live_tokens").set_value(8)
        press_run(page)
        trace = finished(page).trace
        assert trace is not None
        means.append(trace.mean_recursion_depth)
    assert means == [1, 3]


def test_prompt_and_settings_survive_a_visit_to_another_page(page: AppTest) -> None:
    page.text_area(key=session.PROMPT).set_value("Two ducks")
    page.number_input(key="live_tokens").set_value(33).run()
    page.switch_page("../pages/about.py").run()
    page.switch_page("../pages/live.py").run()
    assert page.text_area(key=session.PROMPT).value == "Two ducks"
    assert page.number_input(key="live_tokens").value == 33


def test_preset_fills_the_prompt(page: AppTest) -> None:
    page.button_group(key=session.PRESET).set_value(PRESETS[2].title).run()
    assert page.text_area(key=session.PROMPT).value == PRESETS[2].prompt


@pytest.mark.parametrize(
    ("prompt", "shown"),
    [
        ("", "must not be empty"),
        (" \n\t", "must not be empty"),
        ("x" * 100_000, "at most"),
        ("rabbit " * 100, "context of 64 tokens"),
    ],
    ids=["empty", "blank", "100,000 characters", "longer than the context"],
)
def test_bad_prompt_gets_a_message_and_the_next_run_works(
    page: AppTest, prompt: str, shown: str
) -> None:
    page.text_area(key=session.PROMPT).set_value(prompt)
    if press_run(page) is not None:
        finished(page)
    assert shown in shown_errors(page)
    page.text_area(key=session.PROMPT).set_value("Once upon")
    page.number_input(key="live_tokens").set_value(2)
    press_run(page)
    assert finished(page).status is JobStatus.DONE
    assert not page.error


def test_control_characters_and_markup_are_ordinary_text(page: AppTest) -> None:
    prompt = "<script>\x00\x07</script> **bold**"
    page.text_area(key=session.PROMPT).set_value(prompt)
    page.number_input(key="live_tokens").set_value(2)
    press_run(page)
    job = finished(page)
    assert job.trace is not None
    text = b"".join(
        bytes.fromhex(t.token_bytes)
        for t in job.trace.tokens
        if t.phase == "prefill" and not t.special
    )
    assert text.decode() == prompt


def test_checkpoint_that_breaks_after_it_was_listed_gets_a_message(
    page: AppTest, checkpoints: Path
) -> None:
    (checkpoints / "tiny" / "tokenizer.json").write_text("{}")
    model_cache.loaded_models.cache_clear()
    press_run(page)
    assert finished(page).status is JobStatus.FAILED
    assert "tiny" in shown_errors(page)
    assert not page.button(key="live_run").disabled


def test_damaged_checkpoint_is_left_out_and_named(checkpoints: Path) -> None:
    shutil.copytree(checkpoints / "tiny", checkpoints / "cut-off")
    weights = checkpoints / "cut-off" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    page = opened()
    assert page.selectbox(key="live_checkpoint").options == ["tiny"]
    warning = page.warning[0].value.replace("\\", "")
    assert "cut-off/model.safetensors" in warning


def test_damaged_trace_is_named_and_the_next_one_is_drawn(checkpoints: Path) -> None:
    (checkpoints / "tiny" / "traces" / f"a-damaged{TRACE_SUFFIX}").write_bytes(b"not a trace")
    page = opened()
    assert "gzip" in shown_errors(page)
    assert strip_data(page)["badge"] == "RECORDED"


def test_no_checkpoint_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOR_CHECKPOINTS", str(tmp_path / "nothing"))
    page = opened()
    assert "mor train" in " ".join(info.value for info in page.info)
    assert page.button(key="live_run").disabled


def test_model_is_shared_by_weights_and_precision(checkpoints: Path) -> None:
    name = resources.model_key(describe_checkpoint(checkpoints / "tiny"))
    cache = model_cache.loaded_models()
    single = cache.get(name, Placement("cpu", "float32"))
    assert cache.get(name, Placement("cpu", "float32")) is single
    other = cache.get(name, Placement("cpu", "bfloat16"))
    assert str(other.model.dtype) == "torch.bfloat16"
    assert str(single.model.dtype) == "torch.float32"


@pytest.mark.parametrize("length", [MAX_PROMPT_CHARACTERS, MAX_PROMPT_CHARACTERS + 1])
def test_longest_prompt_is_the_stated_one(length: int) -> None:
    assert bool(prompt_problem("x" * length)) == (length > MAX_PROMPT_CHARACTERS)


def test_presets_are_distinct_and_explained() -> None:
    assert (
        len({preset.title for preset in PRESETS})
        == len({preset.prompt for preset in PRESETS})
        == len(PRESETS)
    )
    assert all(preset.note for preset in PRESETS)


def test_message_is_not_read_as_markdown() -> None:
    assert as_text("**x** :red[y] <b>") == r"\*\*x\*\* \:red\[y\] \<b\>"
