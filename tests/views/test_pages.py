"""Explore, Efficiency and About from the entry script: each opens, answers a click, and says what is wrong."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from app.runs import analysis_jobs
from app.runs.requests import AnalysisRequest
from app.text.words import say
from mor_core.checkpoints.checkpoint import describe_checkpoint
from mor_core.generation.generation import collect_trace, generate_with_trace
from mor_core.model.accounting import active_flops
from mor_core.model.config import MoRConfig
from mor_core.model.routing_rules import RoutingRule
from mor_core.traces.trace import TRACE_SUFFIX, CacheSlot
from mor_core.traces.trace_file import TraceError, load_trace, pack_trace, save_trace
from tests.parts import await_jobs, components
from tests.scripted import scripted_trace
from tests.waiting import wait_for

ROOT = Path(__file__).resolve().parents[2]
ENTRY = str(ROOT / "app" / "main.py")


@pytest.fixture(scope="session")
def recorded_checkpoint(tiny_loaded, tmp_path_factory) -> Path:
    """A folder with one small model and two recorded runs of it."""
    root = tmp_path_factory.mktemp("recorded")
    shutil.copytree(tiny_loaded.info.path, root / "tiny")
    for seed, title in enumerate(["First", "Second"]):
        trace = collect_trace(
            generate_with_trace(tiny_loaded, "Once upon a", max_new_tokens=12, seed=seed)
        )
        trace.header.title, trace.header.note = title, f"note of *{title}*"
        save_trace(trace, root / "tiny" / "traces" / f"{seed}{TRACE_SUFFIX}")
    return root


@pytest.fixture
def checkpoints(recorded_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy that a test may damage."""
    root = tmp_path / "checkpoints"
    shutil.copytree(recorded_checkpoint, root)
    monkeypatch.setenv("MOR_CHECKPOINTS", str(root))
    monkeypatch.setenv("MOR_DEVICE", "cpu")
    monkeypatch.delenv("MOR_STREAM", raising=False)
    return root


def opened(name: str) -> AppTest:
    page = AppTest.from_file(ENTRY, default_timeout=60).switch_page(f"../pages/{name}.py").run()
    assert not page.exception
    return page


def figures(page: AppTest) -> list[dict[str, Any]]:
    return [json.loads(chart.proto.spec) for chart in page.get("plotly_chart")]


def table(page: AppTest, column: str, index: int = 0) -> pd.DataFrame:
    """Return a table by one of its columns: only selectable ones can be found by their key."""
    found: list[pd.DataFrame] = [frame.value for frame in page.dataframe if column in frame.value]
    return found[index]


def shown(page: AppTest) -> str:
    parts = [*page.markdown, *page.caption, *page.info, *page.error, *page.warning]
    return " ".join(str(part.value) for part in parts).replace("\\", "")


def strip_data(page: AppTest) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(components(page)[0].proto.json)
    return data


def choose(page: AppTest, key: str, value: Any) -> AppTest:
    page.button_group(key=key).set_value(value).run()
    assert not page.exception
    return page


def waited(page: AppTest) -> AppTest:
    await_jobs(page, page.session_state["analysis_job"])
    return page


def test_explore_opens_with_a_recorded_run(checkpoints: Path) -> None:
    page = opened("explore")
    assert strip_data(page)["badge"] == "RECORDED"
    assert len(figures(page)) == 3
    assert "note of *First*" in shown(page)


def test_explore_paints_a_recorded_run_without_torch(checkpoints: Path) -> None:
    script = (
        "import sys; from streamlit.testing.v1 import AppTest; "
        f"page = AppTest.from_file({ENTRY!r}, default_timeout=60); "
        "page.switch_page('../pages/explore.py').run(); "
        "assert len(page.get('plotly_chart')) == 3, page.exception; "
        "print('torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert run.stdout.strip().splitlines()[-1:] == ["False"], run.stderr


def test_explore_changes_the_run(checkpoints: Path) -> None:
    page = opened("explore")
    before = strip_data(page)["run"]
    choose(page, "run_tiny", 1)
    assert strip_data(page)["run"] != before
    assert "note of *Second*" in shown(page)


def test_explore_draws_heatmaps_of_the_run(checkpoints: Path) -> None:
    page = choose(opened("explore"), "explore_view", "Heatmaps")
    (grid,) = page.get("vega_lite_chart")
    assert (
        '["recursion 1", "recursion 2", "recursion 3"]'
        in json.loads(grid.proto.spec)["layer"][0]["encoding"]["y"]["axis"]["labelExpr"]
    )
    kinds = [figure["data"][0]["type"] for figure in figures(page)]
    assert kinds == ["heatmap"] * 2
    rows = [figure["data"][0]["y"] for figure in figures(page)]
    assert rows[0] == ["recursion 1", "recursion 2", "recursion 3"]
    assert len(rows[1]) == 8, "one row a cache slot"


def test_explore_table_is_filtered_by_depth(checkpoints: Path) -> None:
    page = choose(opened("explore"), "explore_view", "Table")
    everything = len(table(page, "token_bytes_hex"))
    page.multiselect(key="explore_depths").set_value([1]).run()
    drawn = table(page, "token_bytes_hex")
    assert 0 < len(drawn) < everything
    assert set(drawn["recursion_depth"]) == {1}


def test_explore_groups_by_the_next_token(checkpoints: Path) -> None:
    page = opened("explore")
    before = table(page, "group", index=1)
    page.toggle(key="explore_of_next").set_value(True).run()
    assert not page.exception
    after = table(page, "group", index=1)
    assert not before.equals(after)


def test_explore_reads_a_text_of_the_viewer(checkpoints: Path) -> None:
    page = choose(opened("explore"), "source", "Own text")
    page.text_area(key="own_text").set_value("The old <script>rabbit</script> ran home.").run()
    page.button(key="analyse").click().run()
    waited(page)
    data = strip_data(page)
    assert data["badge"] == "LIVE"
    tokens = data["batch"]["events"][1]["completed"]
    text = b"".join(bytes.fromhex(t["token_bytes"]) for t in tokens if not t["special"])
    assert text.decode() == "The old <script>rabbit</script> ran home."


def test_explore_applies_the_chosen_rule(checkpoints: Path) -> None:
    page = choose(opened("explore"), "source", "Own text")
    page.selectbox(key="run_routing").set_value("fixed").run()
    page.number_input(key="run_depth").set_value(2).run()
    page.button(key="analyse").click().run()
    waited(page)
    tokens = strip_data(page)["batch"]["events"][1]["completed"]
    assert {token["recursion_depth"] for token in tokens} == {2}


@pytest.mark.parametrize("text", ["", " \n", "x" * 100_000], ids=["empty", "blank", "long"])
def test_explore_refuses_a_text_and_stays_up(checkpoints: Path, text: str) -> None:
    page = choose(opened("explore"), "source", "Own text")
    page.text_area(key="own_text").set_value(text)
    page.button(key="analyse").click().run()
    assert not page.exception
    assert len(page.error) == 1
    page.text_area(key="own_text").set_value("A rabbit.")
    page.button(key="analyse").click().run()
    waited(page)
    assert not page.error


def test_long_text_is_read_in_windows(checkpoints: Path) -> None:
    info = describe_checkpoint(checkpoints / "tiny")
    job = analysis_jobs.analyse(
        AnalysisRequest(info, "the old rabbit ran home and " * 20, RoutingRule.causal())
    )
    wait_for(lambda: job.is_finished)
    trace = analysis_jobs.finished_trace(job)
    assert trace is not None
    assert len(trace.header.windows) > 1
    share, words = analysis_jobs.progress(job)
    assert share == 1
    assert f"{len(trace.tokens):,}" in words


def upload(page: AppTest, content: bytes) -> AppTest:
    choose(page, "source", "Trace file")
    page.file_uploader(key="run_file").set_value(
        (f"run{TRACE_SUFFIX}", content, "application/gzip")
    ).run()
    assert not page.exception
    return page


def test_explore_opens_an_uploaded_trace(checkpoints: Path) -> None:
    page = upload(opened("explore"), pack_trace(scripted_trace()))
    data = strip_data(page)
    assert data["batch"]["events"][0]["header"]["checkpoint"] == "scripted"
    assert data["badge"] == "RECORDED"


@pytest.mark.parametrize(
    "content",
    [b"", b"not a trace", pack_trace(scripted_trace())[:-20]],
    ids=["empty", "foreign", "cut off"],
)
def test_explore_refuses_a_damaged_upload(checkpoints: Path, content: bytes) -> None:
    page = upload(opened("explore"), content)
    assert len(page.error) == 1
    assert not components(page)


def broken_headers() -> list[tuple[str, dict[str, Any]]]:
    return [
        ("thresholds", {"routing": {"name": "causal", "thresholds": ["a"]}}),
        ("thresholds", {"routing": {"name": "causal", "thresholds": [1.0]}}),
        ("max_depth", {"routing": {"name": "causal", "max_depth": 4}}),
        ("max_depth", {"routing": {"name": "causal", "max_depth": "2"}}),
        ("capacity_factors", {"config": {"capacity_factors": "all"}}),
        (
            "cache_slots[4]",
            {
                "cache_slots": [
                    *scripted_trace().header.cache_slots[:4],
                    CacheSlot("shared", 9, 1, "R9"),
                ]
            },
        ),
        (
            "cache_slots[4]",
            {
                "cache_slots": [
                    *scripted_trace().header.cache_slots[:4],
                    CacheSlot("coda", None, 1, 5),
                ]
            },
        ),
    ]


@pytest.mark.parametrize(("field", "fields"), broken_headers())
def test_trace_that_would_not_draw_is_refused_when_read(field: str, fields: dict[str, Any]) -> None:
    trace = scripted_trace()
    for name, value in fields.items():
        setattr(trace.header, name, value)
    with pytest.raises(TraceError, match=re.escape(field)):
        load_trace(pack_trace(trace))


def test_damaged_recorded_run_is_named_and_the_others_stay(checkpoints: Path) -> None:
    (checkpoints / "tiny" / "traces" / f"0{TRACE_SUFFIX}").write_bytes(b"not a trace")
    page = opened("explore")
    assert f"0{TRACE_SUFFIX}" in shown(page)
    assert "note of *Second*" in shown(page)


def test_efficiency_counts_with_the_recorded_depths(checkpoints: Path) -> None:
    page = opened("efficiency")
    drawn = table(page, "as_routed_flops")
    config = MoRConfig.from_pretrained(checkpoints / "tiny")
    tokens = config.max_position_embeddings
    assert drawn["full_depth_flops"].sum() == active_flops(config, tokens, [tokens] * 3)
    assert drawn["as_routed_flops"].sum() < drawn["full_depth_flops"].sum()
    assert "2 recorded runs" in shown(page)


def test_efficiency_prefers_the_depths_of_the_evaluation(checkpoints: Path) -> None:
    figures_ = {
        "routing": {"name": "causal", "gate": "learned", "thresholds": [0.5]},
        "nll_nats_per_token": 2.0,
        "bits_per_byte": 1.5,
        "perplexity": 7.389,
        "mean_recursion_depth": 1.75,
        "depth_histogram": [32, 16, 16],
        "active_flops_per_token": 75.0,
        "full_depth_flops_per_token": 100.0,
        "num_tokens": 64,
    }
    path = checkpoints / "tiny" / "evaluation.json"
    path.write_text(
        json.dumps({"text": "valid.txt", "checkpoint_sha256": "0", "results": [figures_]})
    )
    page = opened("efficiency")
    drawn = table(page, "as_routed_flops")
    config = MoRConfig.from_pretrained(checkpoints / "tiny")
    assert config.max_position_embeddings == 64
    assert drawn["as_routed_flops"].sum() == active_flops(config, 64, [64, 32, 16])
    assert table(page, "bits_per_byte")["bits_per_byte"].tolist() == [1.5]
    assert "other weights" in shown(page), "an evaluation of other weights is pointed out"


def test_efficiency_changes_with_the_length(checkpoints: Path) -> None:
    page = opened("efficiency")
    before = table(page, "as_routed_flops")["as_routed_flops"].sum()
    page.slider(key="efficiency_length").set_value(8).run()
    assert table(page, "as_routed_flops")["as_routed_flops"].sum() < before


def test_efficiency_draws_the_training_log(checkpoints: Path) -> None:
    log = checkpoints / "tiny" / "train_log.jsonl"
    log.write_text(
        json.dumps({"step": 1, "tokens": 8, "loss": {"lm": 3.5}, "tokens_per_s": 10}) + "\n"
    )
    page = opened("efficiency")
    assert table(page, "step")["loss_lm"].tolist() == [3.5]
    choose(page, "efficiency_curve", "Speed")
    assert table(page, "step")["tokens_per_s"].tolist() == [10]


def test_efficiency_says_what_is_missing(checkpoints: Path) -> None:
    shutil.rmtree(checkpoints / "tiny" / "traces")
    page = opened("efficiency")
    text = shown(page)
    for message in (say("efficiency.no_depths"), say("efficiency.no_evaluation")):
        assert message.format(name="tiny") in text
    assert say("efficiency.no_speed") in text
    assert say("efficiency.no_training_log") in text


def test_damaged_results_are_named(checkpoints: Path) -> None:
    (checkpoints / "tiny" / "train_log.jsonl").write_text("not json\n")
    (checkpoints / "tiny" / "evaluation.json").write_text(
        '{"results": [{"routing": {"name": "top_k"}}]}'
    )
    page = opened("efficiency")
    errors = " ".join(error.value.replace("\\", "") for error in page.error)
    assert "train_log.jsonl, line 1" in errors
    assert "evaluation.json lacks" in errors


def test_about_names_the_weights_and_the_credits(checkpoints: Path) -> None:
    (checkpoints / "tiny" / "ATTRIBUTION.tsv").write_text("title\tcredit\nThe Moon\tAnna\n")
    page = opened("about")
    info = describe_checkpoint(checkpoints / "tiny")
    facts = page.table[0].value
    assert info.sha256 in facts["value"].tolist()
    credit = table(page, "credit")
    assert credit["credit"].tolist() == ["Anna"]


@pytest.mark.parametrize("name", ["explore", "efficiency", "about"])
def test_page_without_checkpoints_says_what_to_do(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOR_CHECKPOINTS", str(tmp_path / "nothing"))
    assert "mor train" in shown(opened(name))
