"""The Router page and what it draws: router scores by hand, a moved threshold, and a page for every kind of router."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from app.charts import knob as knob_charts
from app.charts import load as load_charts
from app.charts import router as router_charts
from app.tables import router_results, router_tables
from app.tables.result_files import ResultError
from mor_core.checkpoints.checkpoint import save_checkpoint
from mor_core.generation.generation import collect_trace, generate_with_trace
from mor_core.model.accounting import parameter_count
from mor_core.traces.trace import TRACE_SUFFIX
from mor_core.traces.trace_file import save_trace
from tests.models import TOKEN_CHOICE, tiny_config, tiny_model
from tests.scripted import DEPTHS, LOGITS, scripted_trace
from tests.views.test_pages import (
    ENTRY,
    ROOT,
    checkpoints,
    choose,
    figures,
    opened,
    recorded_checkpoint,
    shown,
    table,
    waited,
)

__all__ = ["checkpoints", "recorded_checkpoint"]  # fixtures

CONTENT = DEPTHS[1:]  # the first token of the scripted run is special
EVALUATION = {
    "text": "valid.txt",
    "results": [{"routing": {"name": "causal"}}],
    "threshold_sweep": [
        {
            "threshold_logit": logit,
            "nll": 3.0 + abs(logit + 1) / 10,
            "nll_interval": [2.9, 3.3],
            "bits_per_byte": 1.2,
            "active_flops_per_token": 1e6 * (10 - logit),
            "mean_depth": 2 - logit / 10,
            "num_documents": 4,
            "num_tokens": 100,
        }
        for logit in (0.0, -1.0, 2.0)
    ],
    "depths": {
        "by_position": [
            {"first": 1, "last": 1, "num_tokens": 4, "shares": [0.5, 0.25, 0.25]},
            {"first": 2, "last": 3, "num_tokens": 8, "shares": [0.25, 0.25, 0.5]},
        ]
    },
    "router": {
        "topk_threshold_agreement": [1.0, 0.9, 0.8],
        "dead_token_ratio": 0.0,
        "entropy": [0.01, 0.2, 0.3],
        "load_violation": None,
        "shares_per_depth": [0.3, 0.3, 0.4],
    },
}


def test_judgements_are_the_logits_of_content_tokens():
    found = router_tables.score_table([scripted_trace()])
    for number in (1, 2, 3):
        expected = [LOGITS[depth][number - 1] for depth in CONTENT]
        rows = found[found["recursion"] == number]
        assert rows["logit"].tolist() == [logit for logit in expected if logit is not None]
        went = [
            depth >= number
            for depth, logit in zip(CONTENT, expected, strict=True)
            if logit is not None
        ]
        assert rows["entered"].tolist() == went
    assert found["threshold_logit"].isna().tolist() == (found["recursion"] == 1).tolist()


def test_moved_threshold_turns_exactly_the_decisions_between_the_two():
    found = router_tables.score_table([scripted_trace()])
    rows = found[found["recursion"] == 2]  # logits -1, 1, -1, 1, 1 at depths 1, 3, 1, 2, 3
    assert [
        router_tables.move_threshold(rows, 0.0).count(change) for change in router_tables.CHANGES
    ] == [3, 2, 0, 0]
    raised = router_tables.move_threshold(rows, 1.5)
    assert [raised.count(change) for change in router_tables.CHANGES] == [0, 2, 0, 3]
    assert (raised.share_before, raised.share_after) == (0.6, 0.0)
    lowered = router_tables.move_threshold(rows, -1.0)  # at the threshold is in
    assert [lowered.count(change) for change in router_tables.CHANGES] == [3, 0, 2, 0]


@pytest.mark.parametrize(("share", "expected"), [(0.0, 6.0), (0.25, 4.0), (0.5, 2.0), (1.0, -2.0)])
def test_threshold_for_a_share_lets_that_share_in(share, expected):
    logits = [-1.0, 1.0, 3.0, 5.0]
    threshold = router_tables.threshold_for_share(logits, share)
    assert threshold == expected
    assert sum(logit >= threshold for logit in logits) / 4 == share


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"router_network": "mlp"},
        {"router_network": "wide_mlp", "router_supervision": "aux_router"},
        TOKEN_CHOICE,
        {**TOKEN_CHOICE, "router_network": "mlp"},
    ],
)
def test_weights_of_the_routers_are_those_that_accounting_counts(fields):
    config = tiny_config(**fields)
    plain = tiny_config(router_type="none")
    facts = router_tables.router_facts(config.to_dict())
    assert facts["weights"] == parameter_count(config) - parameter_count(plain)


@pytest.mark.parametrize("factors", [None, [1.0, 0.7, 0.2]])
def test_capacities_are_those_of_the_configuration(factors):
    config = tiny_config(capacity_factors=factors)
    assert tuple(router_tables.capacity_shares(config.to_dict())) == config.capacity_schedule


def test_distribution_counts_every_judgement_once():
    found = router_tables.score_table([scripted_trace()])
    found.loc[0, "logit"] = 50.0  # beyond the edge: in the outermost bar
    chart = router_charts.score_distributions(found, 3)
    for number in (1, 2, 3):
        rows, bars = (t[t["recursion"] == number] for t in (found, chart.table))
        assert bars["entered"].sum() == rows["entered"].sum()
        assert bars["left_out"].sum() == (~rows["entered"]).sum()
    assert chart.finding.startswith(
        "Recursion 1 takes 5 of 5 (100%), without a threshold; recursion 2 takes 3 of 5"
    )
    assert (
        "recursion 3 takes 2 of 3 candidates (67%); 2 decisions lie within one logit of the threshold"
        in chart.finding
    )


def test_moved_chart_names_who_would_change():
    found = router_tables.score_table([scripted_trace()])
    moved = router_tables.move_threshold(found[found["recursion"] == 2], 1.5)
    chart = knob_charts.moved_threshold(moved, 2, 0.0, 6)
    leaving = next(data for data in chart.figure.data if data.name.startswith("would be skipped"))
    assert list(leaving.x) == [position for position, depth in enumerate(DEPTHS) if depth > 1][1:]
    assert list(leaving.text) == [f"␣{position}" for position in leaving.x]
    assert "3 of the 5 decisions at recursion 2" in chart.finding
    assert chart.table["change"].tolist().count(router_tables.WOULD_LEAVE) == 3


def test_sweep_is_in_order_and_its_finding_names_the_best():
    chart = router_charts.sweep(router_results.sweep_table(EVALUATION))
    assert chart.table["threshold_logit"].tolist() == [-1, 0, 2]
    assert "lowest at -1 (3.0000 nats per token) and highest at +2 (3.3000)" in chart.finding
    assert "trained threshold, 0, gives 3.1000" in chart.finding
    assert list(chart.figure.data[1].y) == [11.0, 10.0, 8.0]


def test_load_is_measured_beside_what_training_aimed_at():
    found = router_results.load_table(EVALUATION, tiny_config().to_dict())
    assert found["measured"].tolist() == pytest.approx([1.0, 0.7, 0.4])
    assert found["aimed_at"].tolist() == pytest.approx([1, 2 / 3, 1 / 3])
    assert load_charts.load(found, None).finding.startswith(
        "The largest deviation from the training target is at recursion 3: 40.0%"
    )
    chosen = router_results.load_table(EVALUATION, tiny_config(**TOKEN_CHOICE).to_dict())
    assert chosen["measured"].tolist() == [0.3, 0.3, 0.4]
    assert "MaxVio is 0.20" in load_charts.load(chosen, 0.2).finding


def test_entropy_of_token_choice_is_held_against_all_depths():
    found = router_results.entropy_table({"router": {"entropy": [0.5]}})
    finding = load_charts.entropy(found, num_choices=3).finding
    assert f"{0.5 / np.log(3):.0%}" in finding


def test_damaged_evaluation_is_named():
    with pytest.raises(ResultError, match=r"evaluation\.json is damaged"):
        router_results.sweep_table({"threshold_sweep": [{"threshold_logit": 0}]})
    with pytest.raises(ResultError, match=r"evaluation\.json is damaged"):
        router_results.reach_table({"depths": {"by_position": [{"first": 1}]}})


def test_page_draws_the_scores_of_a_run_and_moves_its_threshold(checkpoints: Path) -> None:
    page = opened("router")
    assert len(figures(page)) == 2
    drawn = table(page, "change")
    assert set(drawn["change"]) <= {router_tables.STAYS_IN, router_tables.STAYS_OUT}
    page.slider(key="threshold_2").set_value(8.0).run()
    assert not page.exception
    moved = table(page, "change")
    assert set(moved["change"]) <= {router_tables.STAYS_OUT, router_tables.WOULD_LEAVE}
    assert (moved["change"] == router_tables.WOULD_LEAVE).sum() == drawn["entered"].sum() > 0
    assert "does not" not in shown(page)
    assert "not run again" in shown(page)


def test_page_sets_a_share(checkpoints: Path) -> None:
    page = opened("router")
    page.button_group(key="scale").set_value("the share that enters").run()
    page.slider(key="share_2").set_value(100).run()
    assert not page.exception
    assert set(table(page, "change")["change"]) <= {
        router_tables.STAYS_IN,
        router_tables.WOULD_ENTER,
    }


def test_link_opens_the_view_that_it_names(checkpoints: Path) -> None:
    from streamlit.testing.v1 import AppTest

    page = AppTest.from_file(ENTRY, default_timeout=60)
    page.query_params["trace"] = "Second"
    page.query_params["threshold_2"] = "3"
    page.switch_page("../pages/router.py").run()
    assert not page.exception
    assert page.button_group(key="run_tiny").value == 1
    assert page.query_params["run"] == "tiny/1"
    assert "trace" not in page.query_params
    assert page.slider(key="threshold_2").value == 3


def test_page_draws_the_evaluation(checkpoints: Path) -> None:
    (checkpoints / "tiny" / "evaluation.json").write_text(json.dumps(EVALUATION))
    page = opened("router")
    assert len(figures(page)) == 7
    assert table(page, "agreement")["agreement"].tolist() == [1.0, 0.9, 0.8]
    assert table(page, "entropy_nats")["entropy_nats"].tolist() == [0.01, 0.2, 0.3]
    assert table(page, "positions")["positions"].tolist() == ["1", "2-3"]


def test_page_says_what_is_missing(checkpoints: Path) -> None:
    shutil.rmtree(checkpoints / "tiny" / "traces")
    text = shown(opened("router"))
    assert "mor record" in text
    assert "mor report" in text


def test_page_names_damaged_results(checkpoints: Path) -> None:
    damaged = EVALUATION | {"threshold_sweep": [{}]}
    (checkpoints / "tiny" / "evaluation.json").write_text(json.dumps(damaged))
    page = opened("router")
    assert "evaluation.json is damaged" in page.error[0].value.replace("\\", "")


def replaced(checkpoints: Path, tokenizer, **fields) -> None:
    """Put another model, with one recorded run, in the place of the folder's."""
    from mor_core.checkpoints.checkpoint import load_checkpoint

    shutil.rmtree(checkpoints / "tiny")
    save_checkpoint(checkpoints / "tiny", tiny_model(vocab_size=300, **fields), tokenizer)
    loaded = load_checkpoint(checkpoints / "tiny")
    trace = collect_trace(generate_with_trace(loaded, "Once upon a", max_new_tokens=12, seed=0))
    save_trace(trace, checkpoints / "tiny" / "traces" / f"0{TRACE_SUFFIX}")


def test_page_explains_a_model_without_router(checkpoints: Path, tiny_tokenizer) -> None:
    replaced(checkpoints, tiny_tokenizer, router_type="none", num_recursions=1)
    page = opened("router")
    assert "tiny has no router" in shown(page)
    assert not figures(page)


def test_page_shows_the_probabilities_of_token_choice(checkpoints: Path, tiny_tokenizer) -> None:
    replaced(checkpoints, tiny_tokenizer, **TOKEN_CHOICE)
    page = opened("router")
    bars, heatmap = figures(page)
    assert bars["layout"]["xaxis"]["range"] == [0, 1]
    assert heatmap["data"][0]["type"] == "heatmap"
    assert "no threshold to move" in shown(page)
    scores = table(page, "router_score_r1")[[f"router_score_r{number}" for number in (1, 2, 3)]]
    assert scores.dropna().sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-5)


def test_page_paints_without_torch(checkpoints: Path) -> None:
    script = (
        "import sys; from streamlit.testing.v1 import AppTest; "
        f"page = AppTest.from_file({ENTRY!r}, default_timeout=60); "
        "page.switch_page('../pages/router.py').run(); "
        "assert len(page.get('plotly_chart')) == 2, page.exception; "
        "print('torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert run.stdout.strip().splitlines()[-1:] == ["False"], run.stderr


def test_page_reads_a_text_of_the_viewer(checkpoints: Path) -> None:
    page = opened("router")
    choose(page, "source", "Own text")
    page.text_area(key="own_text").set_value("The old rabbit ran home.").run()
    page.button(key="analyse").click().run()
    waited(page)
    assert "LIVE" in shown(page)
    read = "".join(table(page, "change")["token"])
    assert read.replace("␣", " ") == "The old rabbit ran home."
    page.text_area(key="own_text").set_value(" ").run()
    page.button(key="analyse").click().run()
    assert len(page.error) == 1
