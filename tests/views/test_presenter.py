"""Presenter mode on the server's side: the link, the card before a talk, and the list of hidden words."""

import json
import shutil
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from app.runs import resources
from app.text.hidden_words import hidden_words
from app.views import preflight
from mor_core.checkpoints.checkpoint import describe_checkpoint
from mor_core.traces.trace import TRACE_SUFFIX
from mor_core.traces.trace_file import save_trace
from tests.parts import components
from tests.scripted import scripted_trace

ENTRY = str(Path(__file__).resolve().parents[2] / "app" / "main.py")


@pytest.fixture
def checkpoint(tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one small model and no recorded run."""
    monkeypatch.setenv("MOR_CHECKPOINTS", str(tmp_path))
    monkeypatch.setenv("MOR_DEVICE", "cpu")
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "tiny"))


def opened(**params: str) -> AppTest:
    page = AppTest.from_file(ENTRY, default_timeout=60)
    for name, value in params.items():
        page.query_params[name] = value
    page.run()
    assert not page.exception
    return page


def shown(page: AppTest) -> str:
    return "\n".join(element.value.replace("\\", "") for element in page.markdown)


def is_presenting(page: AppTest) -> bool:
    return bool(json.loads(components(page)[0].proto.json)["present"])


def test_link_opens_presenter_mode_and_the_switch_leaves_it(checkpoint: Path) -> None:
    save_trace(scripted_trace(), checkpoint / "traces" / f"first{TRACE_SUFFIX}")
    assert not is_presenting(opened())
    page = opened(present="1")
    assert is_presenting(page)
    assert "Before the talk" in shown(page)
    page.button(key="live_present").click().run()
    assert not is_presenting(page)
    assert "Before the talk" not in shown(page)
    assert "present" not in page.query_params


def test_card_tells_a_cold_model_from_a_warm_one_and_whether_a_recorded_run_is_there(
    checkpoint: Path,
) -> None:
    assert ":material/warning: tiny is not in memory" in shown(opened(present="1"))
    assert "no recorded run" in shown(opened(present="1"))
    save_trace(scripted_trace(), checkpoint / "traces" / f"first{TRACE_SUFFIX}")
    resources.loaded_checkpoint(describe_checkpoint(checkpoint))
    text = shown(opened(present="1"))
    assert ":material/check_circle: tiny is in memory: cpu, float32" in text
    assert "A recorded run is ready" in text


def test_a_damaged_recorded_run_is_no_fallback(checkpoint: Path) -> None:
    (checkpoint / "traces").mkdir()
    (checkpoint / "traces" / f"bad{TRACE_SUFFIX}").write_bytes(b"not a trace")
    assert preflight.recorded_title(describe_checkpoint(checkpoint)) == ""


def test_hidden_words_are_a_small_sorted_list_of_whole_words() -> None:
    words = hidden_words()
    assert 10 < len(words) < 200
    assert list(words) == sorted(set(words))
    assert all(word.isalpha() and word == word.lower() for word in words)
