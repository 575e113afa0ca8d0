"""The Checkpoints page: load, unload, and open a folder; a wrong one is refused with the reason."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from app.runs import model_cache
from mor_core.checkpoints.placement import Placement
from mor_core.server.jobs import Job
from tests.views.test_pages import opened, shown
from tests.waiting import wait_for


@pytest.fixture
def root(tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A root with a listed checkpoint, one deeper down, and one beside it that is out of bounds."""
    root = tmp_path / "root"
    for place in (root / "tiny", root / "runs" / "later", tmp_path / "outside"):
        shutil.copytree(tiny_checkpoint, place)
    monkeypatch.setenv("MOR_CHECKPOINTS", str(root))
    monkeypatch.setenv("MOR_DEVICE", "cpu")
    model_cache.loaded_models.cache_clear()
    yield root
    model_cache.loaded_models.cache_clear()


def press(page: AppTest, key: str) -> AppTest:
    page.button(key=key).click().run()
    assert not page.exception
    return page


def loaded(page: AppTest, root: Path) -> AppTest:
    press(page, f"load_{root / 'tiny'}")
    job: Job = page.session_state["loading_job"]
    wait_for(lambda: job.is_finished)
    return page.run()


def open_folder(page: AppTest, text: str) -> AppTest:
    page.text_input(key="open_folder_path").set_value(text)
    page.button(key="FormSubmitter:open_folder-Open").click().run()
    assert not page.exception
    return page


def test_a_model_is_loaded_where_one_chooses_and_unloaded_again(root: Path) -> None:
    page = opened("checkpoints")
    assert page.metric[2].value == "0 / 2"
    assert "not loaded" in shown(page)
    assert page.button(key=f"unload_{root / 'tiny'}").disabled
    page.selectbox(key="place_dtype").set_value("bfloat16").run()
    loaded(page, root)
    assert page.metric[2].value == "1 / 2"
    assert "in memory: cpu, bfloat16" in shown(page)
    assert [item.placement for item in model_cache.loaded_models().held()] == [
        Placement("cpu", "bfloat16")
    ]
    press(page, f"unload_{root / 'tiny'}")
    assert model_cache.loaded_models().held() == []
    assert "not loaded" in shown(page)


def test_memory_is_shown(root: Path) -> None:
    page = opened("checkpoints")
    assert page.metric[0].value.split()[1] in ("MiB", "GiB")
    assert " / " in page.metric[1].value


def test_a_folder_deeper_under_the_root_joins_every_list(root: Path) -> None:
    page = open_folder(opened("checkpoints"), "runs/later")
    assert f"load_{(root / 'runs' / 'later').resolve()}" in [button.key for button in page.button]
    page.switch_page("../pages/live.py").run()
    assert page.selectbox(key="live_checkpoint").options == ["tiny", "runs/later"]
    page.switch_page("../pages/checkpoints.py").run()
    assert "already" in shown(open_folder(page, "runs/later"))


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        ("../outside", "must lie under"),
        ("nothing", "holds: runs, tiny"),
        ("runs", "config.json"),
        ("other", "another kind of model"),
        ("", "must have a name"),
    ],
)
def test_a_wrong_folder_says_what_is_wrong(root: Path, folder: str, said: str) -> None:
    (root / "other").mkdir()
    if folder != "nothing":
        (root / "other" / "config.json").write_text(json.dumps({"model_type": "llama"}))
    else:
        (root / "other").rmdir()
    page = open_folder(opened("checkpoints"), folder)
    assert len(page.error) == 1
    assert said in page.error[0].value.replace("\\", "")


def test_a_loading_that_fails_says_why(root: Path) -> None:
    page = opened("checkpoints")
    (root / "tiny" / "tokenizer.json").write_text("{}")
    loaded(page, root)
    assert "tokenizer" in page.error[0].value
