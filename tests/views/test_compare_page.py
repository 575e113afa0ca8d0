"""The Compare page from the entry script: recorded runs, one text read by two settings, a link, and what goes wrong."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from app.text.words import entries
from app.views.compare_picker import counterpart, kv_strategies
from mor_core.generation.generation import collect_trace, generate_with_trace
from mor_core.traces.trace import TRACE_SUFFIX
from mor_core.traces.trace_file import save_trace
from tests.parts import await_jobs, components
from tests.text.test_words import CHOSEN, SAID

ROOT = Path(__file__).resolve().parents[2]
ENTRY = str(ROOT / "app" / "main.py")


@pytest.fixture(scope="session")
def compared_checkpoints(tiny_loaded: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one model under two names, each with two recorded runs: alike for three tokens, then not."""
    root = tmp_path_factory.mktemp("compared")
    for seed, name in enumerate(["one", "two"]):
        shutil.copytree(tiny_loaded.info.path, root / name)
        for number, prompt in enumerate(["Once upon a", "The gate"]):
            trace = collect_trace(
                generate_with_trace(tiny_loaded, prompt, max_new_tokens=8, seed=seed)
            )
            save_trace(trace, root / name / "traces" / f"{number}{TRACE_SUFFIX}")
    return root


@pytest.fixture
def checkpoints(
    compared_checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    root = tmp_path / "checkpoints"
    shutil.copytree(compared_checkpoints, root)
    monkeypatch.setenv("MOR_CHECKPOINTS", str(root))
    monkeypatch.setenv("MOR_DEVICE", "cpu")
    monkeypatch.delenv("MOR_STREAM", raising=False)
    return root


def opened(**link: str) -> AppTest:
    page = AppTest.from_file(ENTRY, default_timeout=60).switch_page("../pages/compare.py")
    for name, value in link.items():
        page.query_params[name] = value
    page.run()
    assert not page.exception
    return page


def pair_data(page: AppTest) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(components(page)[0].proto.json)
    return data


def choose(page: AppTest, key: str, value: str) -> AppTest:
    page.button_group(key=key).set_value(value).run()
    assert not page.exception
    return page


def shown(page: AppTest) -> str:
    parts = [*page.markdown, *page.caption, *page.info, *page.error]
    return " ".join(str(part.value) for part in parts).replace("\\", "")


def read_text(page: AppTest) -> AppTest:
    page.button(key="compare_read").click().run()
    assert not page.exception
    if "compare_jobs" not in page.session_state:
        return page
    await_jobs(page, *page.session_state["compare_jobs"])
    return page


def test_opens_with_the_same_recorded_run_of_two_checkpoints(checkpoints: Path) -> None:
    data = pair_data(opened())
    assert [side["name"].partition(" ")[0] for side in data["sides"]] == ["tiny", "tiny"]
    assert data["badge"] == "RECORDED"
    assert data["diverges"]
    shared = len(data["pieces"])
    assert shared >= 3
    for place, (a, a_end, b, b_end, difference) in enumerate(data["pieces"]):
        assert (a, a_end, b, b_end, difference) == (place, place + 1, place, place + 1, 0)
    assert [side["rest"] for side in data["sides"]] == [shared, shared]
    rests = [side["tokens"][shared]["text"] for side in data["sides"]]
    assert rests[0] != rests[1]


def test_first_paint_needs_no_torch(checkpoints: Path) -> None:
    script = (
        "import sys; from streamlit.testing.v1 import AppTest; "
        f"page = AppTest.from_file({ENTRY!r}, default_timeout=60); "
        "page.switch_page('../pages/compare.py').run(); "
        "assert len(page.get('bidi_component')) == 2, page.exception; "
        "print('torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert run.stdout.strip().splitlines()[-1:] == ["False"], run.stderr


def test_link_names_the_runs_and_the_view(checkpoints: Path) -> None:
    page = opened(compare_a="one/1", compare_b="two/1", compare_view="Table")
    assert page.selectbox(key="compare_a").value == "one/1"
    assert page.selectbox(key="compare_b").value == "two/1"
    texts = ["".join(t["text"] for t in side["tokens"]) for side in pair_data(page)["sides"]]
    assert all("The gate" in text for text in texts)
    assert "tokens_a" in page.dataframe[0].value.columns


def test_unknown_run_in_a_link_falls_back(checkpoints: Path) -> None:
    page = opened(compare_a="../../etc/passwd", compare_b="two/1")
    assert page.selectbox(key="compare_a").value == "two/0"
    assert page.selectbox(key="compare_b").value == "two/1"


def test_runs_of_other_prompts_share_only_the_start(checkpoints: Path) -> None:
    page = opened(compare_a="one/0", compare_b="one/1")
    data = pair_data(page)
    assert (len(data["pieces"]), data["diverges"]) == (1, True)
    assert "share no text" in shown(page)
    for view in ("Depth, A against B", "Which predicts better", "Table"):
        choose(page, "compare_view", view)


@pytest.mark.parametrize(
    ("view", "charts"), [("Depth, A against B", 1), ("Which predicts better", 1), ("Table", 0)]
)
def test_every_view_draws(checkpoints: Path, view: str, charts: int) -> None:
    page = choose(opened(), "compare_view", view)
    assert len(page.get("plotly_chart")) == charts
    assert len(page.dataframe) == 1


def test_one_text_is_read_under_two_settings(checkpoints: Path) -> None:
    page = choose(opened(), "compare_source", "One text, analysed twice")
    page.selectbox(key="compare_checkpoint_a").set_value("two")
    page.text_area(key="compare_text").set_value("The <b>old</b> gate — ok").run()
    for side, depth in (("a", 3), ("b", 1)):
        page.selectbox(key=f"compare_{side}_routing").set_value("fixed").run()
        page.number_input(key=f"compare_{side}_depth").set_value(depth).run()
    read_text(page)
    data = pair_data(page)
    assert data["badge"] == "LIVE"
    assert not data["diverges"]
    assert {piece[4] for piece in data["pieces"]} == {-2}
    spelled = [
        b"".join(bytes.fromhex(t["token_bytes"]) for t in side["tokens"] if not t["special"])
        for side in data["sides"]
    ]
    assert [text.decode() for text in spelled] == ["The <b>old</b> gate — ok"] * 2
    assert "fixed depth 3" in data["sides"][0]["name"]
    assert "fixed depth 1" in data["sides"][1]["name"]
    assert "takes 1.00 recursions per token, A 3.00" in shown(page)


def test_other_keys_are_an_experiment_on_the_same_weights(checkpoints: Path) -> None:
    page = choose(opened(), "compare_source", "One text, analysed twice")
    page.selectbox(key="compare_checkpoint_a").set_value("one").run()
    page.selectbox(key="compare_kv_b_one").set_value("shared").run()
    for side in "ab":
        page.selectbox(key=f"compare_{side}_routing").set_value("fixed").run()
    read_text(page)
    names = [side["name"] for side in pair_data(page)["sides"]]
    assert names[0].endswith("recursion-wise cache")
    assert names[1].endswith("shared by all recursions")
    assert "An experiment" in shown(page)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"num_recursions": 3, "kv_strategy": "shared"}, ["shared", "recursion_wise"]),
        ({"num_recursions": 1, "kv_strategy": "recursion_wise"}, []),
        ({"num_recursions": 3, "kv_strategy": "shared_updated"}, []),
        (
            {
                "num_recursions": 3,
                "kv_strategy": "recursion_wise",
                "capacity_factors": [0.8, 0.5, 0.2],
            },
            [],
        ),
    ],
)
def test_only_strategies_that_fit_are_offered(config: dict[str, Any], expected: list[str]) -> None:
    assert kv_strategies(config) == expected


@pytest.mark.parametrize("text", ["", " \n", "x" * 100_000], ids=["empty", "blank", "long"])
def test_bad_text_gets_a_message_and_the_next_one_works(checkpoints: Path, text: str) -> None:
    page = choose(opened(), "compare_source", "One text, analysed twice")
    page.text_area(key="compare_text").set_value(text)
    read_text(page)
    assert len(page.error) == 1
    page.text_area(key="compare_text").set_value("A rabbit.")
    read_text(page)
    assert not page.error
    assert pair_data(page)["badge"] == "LIVE"


def test_bad_depths_are_named(checkpoints: Path) -> None:
    page = choose(opened(), "compare_source", "One text, analysed twice")
    page.selectbox(key="compare_b_routing").set_value("forced").run()
    page.text_input(key="compare_b_depths").set_value("3 9").run()
    read_text(page)
    assert "'9'" in shown(page)


def test_damaged_run_is_named(checkpoints: Path) -> None:
    (checkpoints / "one" / "traces" / f"0{TRACE_SUFFIX}").write_bytes(b"not a trace")
    page = opened()
    assert f"0{TRACE_SUFFIX}" in shown(page)
    assert not components(page)


def test_without_recorded_runs_the_other_way_is_named(checkpoints: Path) -> None:
    for name in ("one", "two"):
        shutil.rmtree(checkpoints / name / "traces")
    assert "analyse one text" in shown(opened())


def test_without_checkpoints_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOR_CHECKPOINTS", str(tmp_path / "nothing"))
    assert "mor train" in shown(opened())


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a/1", "a/2", "b/1"], "b/1"),
        (["a/1", "a/2", "b/3"], "a/2"),
        (["a/1"], "a/1"),
    ],
)
def test_counterpart_is_the_same_run_of_another_checkpoint(names: list[str], expected: str) -> None:
    assert counterpart("a/1", names) == expected


def test_every_name_in_the_scripts_is_an_entry_and_every_entry_is_named() -> None:
    folder = ROOT / "app" / "components" / "pair"
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.js")))
    strip = {key.removeprefix("strip.") for key in entries() if key.startswith("strip.")}
    own = {key.removeprefix("pair.") for key in entries() if key.startswith("pair.")}
    assert not strip & own, "one word has one place"
    plain = {name for pair in CHOSEN.findall(text) for name in pair}
    plain |= {name for name, _ in SAID.findall(text) if name}
    patterns = [re.sub(r"\$\{[^}]*\}", ".+", name) for _, name in SAID.findall(text) if name]
    assert plain <= strip | own
    for key in own - plain:
        assert any(re.fullmatch(pattern, key) for pattern in patterns), key
