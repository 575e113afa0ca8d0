"""What the Efficiency page says of the family is what the family's file holds."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from app.charts import family as family_charts
from app.charts import pairs as pairs_charts
from app.charts import paper as paper_charts
from app.frame.messages import as_text
from app.tables import claims, efficiency_summary, family_results
from app.tables.result_files import ResultError
from app.text.words import LANGUAGES, say
from mor_core.evaluation.paper_results import MAIN_TABLE
from mor_core.model.accounting import active_flops, kv_bytes, vanilla_config, vanilla_kv_bytes
from mor_core.model.config import MoRConfig
from tests.parts import layers

ENTRY = str(Path(__file__).resolve().parents[2] / "app" / "main.py")


def fields(layer):
    """Return which column each channel of a layer draws."""
    channels = ("x", "y", "color", "shape")
    return {
        name: layer["encoding"][name]["field"] for name in channels if name in layer["encoding"]
    }


@pytest.fixture(scope="module")
def found(family_root):
    return family_results.read_family(family_root)


def opened(root, monkeypatch, language="en", part="family", cost="training_flops"):
    monkeypatch.setenv("MOR_CHECKPOINTS", str(root))
    monkeypatch.setenv("MOR_DEVICE", "cpu")
    page = AppTest.from_file(ENTRY, default_timeout=60)
    page.query_params["lang"] = language
    page.session_state["part"], page.session_state["cost"] = part, cost
    page = page.switch_page("../pages/efficiency.py").run()
    assert not page.exception
    return page


def with_plain_member(found):
    """The same family, its second member told as the plain Transformer of equal compute."""
    family = json.loads(json.dumps(found))
    family["members"][1]["model"] |= {
        "router_type": "none",
        "num_recursions": 1,
        "parameters_without_embeddings": 2
        * family["members"][0]["model"]["parameters_without_embeddings"],
    }
    family["members"][1]["seed"] = family["members"][0]["seed"]
    return family


def with_speeds(found, names=("first", "second")):
    """The same family, some of its members measured."""
    family = json.loads(json.dumps(found))
    conditions = {
        "processor": "Some *CPU*",
        "threads": 2,
        "dtype": "float32",
        "repeats": 5,
        "measured": "2026-11-26T12:00:00+00:00",
    }
    for place, member in enumerate(family["members"], start=1):
        for name, speed in (("training_step", 1000.0), ("decoding", 100.0)):
            if member["name"] in names:
                spread = [0.75 * speed * place, 1.5 * speed * place]
                measured = {"tokens_per_s": speed * place, "spread": spread}
                member[name] = measured | {"conditions": conditions}
    return family


def test_the_page_shows_the_files_numbers(family_root, found, monkeypatch):
    page = opened(family_root, monkeypatch)
    shown = next(
        frame.value
        for frame in page.dataframe
        if "bits_per_byte_low" in frame.value and "seed" in frame.value
    )
    for (_, row), member in zip(shown.iterrows(), found["members"], strict=True):
        own = member["results"][0]
        assert row["bits_per_byte"] == own["bits_per_byte"]
        assert [row["bits_per_byte_low"], row["bits_per_byte_high"]] == own[
            "bits_per_byte_interval"
        ]
        assert row["training_flops"] == member["training"]["active_flops"]
        assert row["kv_bytes_per_token"] == member["kv_bytes_per_token"]["bfloat16"]["own"]
        assert row["last_word_accuracy"] == member["tasks"]["last_word"]["accuracy"] or (
            member["tasks"]["last_word"]["accuracy"] is None
        )


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_speaks_both_languages(family_root, monkeypatch, language):
    page = opened(family_root, monkeypatch, language)
    headings = " ".join(heading.value for heading in page.subheader)
    expected = {"en": "The family side by side", "zh": "模型家族并排比较"}
    assert expected[language] in headings


def test_the_claims_have_a_part_of_their_own(family_root, found, monkeypatch):
    page = opened(family_root, monkeypatch, part="paper")
    assert not [frame for frame in page.dataframe if "bits_per_byte_low" in frame.value]
    assert page.table[-1].value.shape[0] == len(claims.claims_table(found))


def test_the_answers_are_the_files_and_the_formulas(family_root, found):
    family = with_plain_member(found)
    config = MoRConfig.from_pretrained(family_root / "first")
    shares = [1.0, 0.5, 0.25][: config.num_recursions]
    calls = pd.DataFrame({"recursion_depth": [1, 1, config.num_recursions], "latency_s": [1, 1, 4]})
    flops, kv, time, loss = efficiency_summary.answers("first", config, shares, calls, family)
    tokens = config.max_position_embeddings
    counts = [round(tokens * share) for share in shares]
    plain = vanilla_config(config)
    expected = active_flops(config, tokens, counts) / active_flops(plain, tokens, [tokens])
    assert flops.value == f"{expected:.0%}"
    expected = kv_bytes(config, tokens, counts, 4) / vanilla_kv_bytes(config, tokens, 4)
    assert kv.value == f"{expected:.0%}"
    assert time.value == "25%"
    pair = next(pair for pair in found["differences"] if set(pair["names"]) == {"first", "second"})
    sign = 1 if pair["names"][1] == "first" else -1
    assert loss.value.replace("−", "-") == f"{sign * pair['more_nats_per_token']:+.3f} nats"
    bare = efficiency_summary.answers("first", config, shares, calls.iloc[:2], {})
    assert [answer.value for answer in bare[2:]] == ["–", "–"]


def test_the_claim_of_speed_is_what_serving_measured(found):
    points = [
        {"what": what, "ratio": ratio, "bound": 1.5, "extra": {"counts": counts}}
        for what, ratio, counts in (
            ("few", 0.9, True),
            ("many", 1.2, True),
            ("poor peer", 3, False),
        )
    ]
    documents = [{"benchmark": "serve", "results": points}, {"benchmark": "load", "results": []}]
    said = claims.claims_table(found, documents).iloc[-1]["what we measured"]
    assert "at 2 points: from 0.90x (few) to 1.20x (many, " in said
    assert "yet" in claims.claims_table(found).iloc[-1]["what we measured"]


def test_without_a_file_the_page_says_how_to_get_one(family_root, tmp_path, monkeypatch):
    root = shutil.copytree(family_root, tmp_path / "copy")
    (root / "family.json").unlink()
    page = opened(root, monkeypatch)
    assert any("mor family" in info.value for info in page.info)


def test_a_damaged_file_is_named(family_root, tmp_path, monkeypatch):
    root = shutil.copytree(family_root, tmp_path / "copy")
    (root / "family.json").write_text('{"members": [{}]}')
    with pytest.raises(ResultError, match=r"family\.json is damaged.*mor family"):
        family_results.read_family(root)
    page = opened(root, monkeypatch)
    assert any("family" in error.value for error in page.error)


def test_the_frontier_holds_what_nothing_beats_in_both():
    table = pd.DataFrame(
        {
            "name": ["cheap", "good", "beaten", "even"],
            "parameters": [1, 5, 6, 5],
            "training_tokens_per_s": [10, 5, 4, 5],
            "bits_per_byte": [2.0, 1.0, 1.5, 1.0],
        }
    )
    assert family_charts.frontier(table, "parameters") == ["cheap", "good", "even"]
    assert family_charts.frontier(table, "training_tokens_per_s") == ["cheap", "good", "even"]


@pytest.mark.parametrize("cost", family_charts.COSTS)
def test_every_cost_is_drawn_with_its_interval(found, cost):
    table = family_results.members_table(with_speeds(found))
    chart = family_charts.pareto(table, cost, family_results.seed_gap(found))
    (points,) = layers(chart, "point")
    assert fields(points) == {"x": cost, "y": "bits_per_byte", "color": "name", "shape": "name"}
    bars = layers(chart, "rule")[0]
    assert (fields(bars)["x"], fields(bars)["y"]) == (cost, "bits_per_byte_low")
    assert bars["encoding"]["y2"]["field"] == "bits_per_byte_high"
    for layer in (points, bars):
        for name in ("name", cost, "bits_per_byte", "bits_per_byte_low", "bits_per_byte_high"):
            drawn = [row[name] for row in layer["rows"]]
            assert drawn == table[name].tolist() == chart.table[name].tolist()
    assert f"{found['seeds'][0]['gap']:.4f}" in chart.finding


def test_curves_end_with_the_logs_last_validation():
    column = family_charts.VALIDATION
    log = pd.DataFrame(
        {
            "step": [1, 2, 3],
            "tokens": [5, 10, 15],
            "training_flops": [1.0, 2.0, 3.0],
            column: [4.0, None, 3.25],
        }
    )
    chart = family_charts.curves({"first": log, "bare": log.drop(columns=column)})
    assert [trace.name for trace in chart.figure.data] == ["first"]
    assert chart.figure.data[0].y.tolist() == [4.0, 3.25]
    assert "first 3.2500" in chart.finding
    assert chart.table["tokens"].tolist() == [5, 15]


def test_a_sweep_names_its_best_threshold(found):
    table = family_results.sweep_table(found, "first")
    chart = family_charts.sweep(table)
    best = min(found["members"][0]["threshold_sweep"], key=lambda point: point["nll"])
    assert f"{best['threshold_logit']:+g} predicts best ({best['nll']:.4f}" in chart.finding


def test_claims_without_a_plain_model_are_not_answered(found):
    table = claims.claims_table(found)
    answers = dict(zip(claims.CLAIMS, table["what we measured"], strict=True))
    assert answers["better"] == answers["speed"] == "Not measured here yet."
    random = next(r for r in found["members"][0]["results"] if r["routing"]["name"] == "random")
    assert (
        f"random depths cost {random['more_nats_than_own_rule']['nll_nats_per_token']:.4f}"
        in answers["router"]
    )


def test_claims_are_answered_with_the_files_numbers(found):
    family = with_plain_member(found)
    table = claims.claims_table(family)
    answers = dict(zip(claims.CLAIMS, table["what we measured"], strict=True))
    own = [member["results"][0] for member in family["members"]]
    assert f"first {own[0]['bits_per_byte']:.4f}" in answers["better"]
    assert f"second {own[1]['bits_per_byte']:.4f}" in answers["better"]
    assert "50% of the parameters" in answers["parameters"]
    sizes = found["members"][0]["kv_bytes_per_token"]["bfloat16"]
    assert f"{1 - sizes['own'] / sizes['plain_transformer']:.0%} less" in answers["cache"]


def test_the_claim_of_the_router_is_held_against_recursions_without_one(found):
    family = with_plain_member(found)
    place = claims.CLAIMS.index("recursion")
    assert claims.claims_table(family)["what we measured"][place] == "Not measured here yet."
    recursive = json.loads(json.dumps(family["members"][1])) | {"name": "recursive"}
    recursive["model"]["num_recursions"] = family["members"][0]["model"]["num_recursions"]
    family["members"].append(recursive)
    answer = claims.claims_table(family)["what we measured"][place]
    assert f"recursive {recursive['results'][0]['bits_per_byte']:.4f}" in answer
    for name, other in (("kv_strategy", "shared"), ("num_hidden_layers", 99)):
        kept, recursive["model"][name] = recursive["model"][name], other  # another stack
        assert claims.claims_table(family)["what we measured"][place] == "Not measured here yet."
        recursive["model"][name] = kept
    recursive["seed"] += 1  # of two seeds none is chosen for its loss
    assert claims.claims_table(family)["what we measured"][place] == "Not measured here yet."
    recursive["seed"] -= 1
    assert answer == claims.claims_table(family)["what we measured"][place]
    recursive["training"]["active_flops"] *= 1.1  # no longer at equal compute
    assert claims.claims_table(family)["what we measured"][place] == "Not measured here yet."


def test_a_control_that_drew_its_depths_is_held_against_the_trained_router(found):
    family = json.loads(json.dumps(found))
    first, second = family["members"][:2]
    second["model"] = first["model"] | {"router_control": "random_selection"}
    second["training"]["active_flops"] = first["training"]["active_flops"]
    pair = family["differences"][0] | {"more_nats_per_token": 0.2, "interval": [0.1, 0.3]}
    family["differences"] = [pair]
    family["seeds"] = [found["seeds"][0] | {"gap": 0.05}]
    said = claims.against_control(family, "first")
    assert "second drew its depths by chance" in said
    assert "+0.2000 nats a token (+0.1000 to +0.3000)" in said
    assert "No order" not in said
    assert said in claims.claims_table(family)["what we measured"][claims.CLAIMS.index("router")]
    family["seeds"][0]["gap"] = 0.25
    assert "up to 0.2500 nats" in claims.against_control(family, "first")
    assert claims.against_control(family, "second") == ""
    second["training"]["active_flops"] *= 1.1
    assert claims.against_control(family, "first") == ""


def test_the_papers_margins_of_the_router_are_its_tables():
    recursive = {row.recursions: row.nll for row in MAIN_TABLE if row.model == "Recursive"}
    margins = [
        recursive[row.recursions] - row.nll
        for row in MAIN_TABLE
        if row.model == "MoR, expert-choice, cache" and row.forward_flops == 16.5e18
    ]
    said = say("efficiency.claim_recursion_paper")
    assert f"{min(margins):.3f} to {max(margins):.3f} nats" in said


def test_a_claim_of_better_is_paired_and_claims_no_order_within_the_gap(found):
    family = with_plain_member(found)
    pair = family["differences"][0]
    family["seeds"] = []
    answer = claims.claims_table(family)["what we measured"][0]
    more, bounds = -pair["more_nats_per_token"], sorted(-bound for bound in pair["interval"])
    assert (
        f"difference is {more:+.4f} nats a token ({bounds[0]:+.4f} to {bounds[1]:+.4f})" in answer
    )
    assert "No order is claimed" in answer
    family["differences"] = [pair | {"more_nats_per_token": 0.5, "interval": [0.4, 0.6]}]
    family["seeds"] = [found["seeds"][0] | {"gap": 0.1}]
    answer = claims.claims_table(family)["what we measured"][0]
    assert "difference is -0.5000 nats a token (-0.6000 to -0.4000)" in answer
    assert "No order is claimed" not in answer


def test_a_difference_is_ordered_only_beyond_interval_and_gap():
    table = pd.DataFrame(
        {
            "name": ["a", "b", "c", "d"],
            "more_nats": [-0.3, -0.05, 0.2, 0.3],
            "low": [-0.4, -0.06, -0.1, 0.2],
            "high": [-0.2, -0.04, 0.5, 0.4],
        }
    )
    assert family_results.verdicts(table, 0.1) == ["better", "open", "open", "worse"]
    assert family_results.verdicts(table, None) == ["open"] * 4
    chart = pairs_charts.differences(table, "plain", 0.1)
    assert "better a; worse d; no order claimed, within 0.1000 nats" in chart.finding
    assert chart.finding.endswith("b, c.")
    assert sorted(x for trace in chart.figure.data for x in trace.x) == table["more_nats"].tolist()
    assert "a -0.3000 (-0.4000, -0.2000)" in pairs_charts.differences(table, "x", None).finding


def test_a_reference_may_stand_on_either_side(found):
    (pair,) = found["differences"]
    for reference, sign in zip(pair["names"], (1, -1), strict=True):
        (row,) = family_results.differences_table(found, reference).to_dict("records")
        assert row["name"] != reference
        assert row["more_nats"] == sign * pair["more_nats_per_token"]
        assert row["low"] <= row["more_nats"] <= row["high"]


def test_two_seeds_are_drawn_class_by_class(found):
    (pair,) = found["seeds"]
    chart = pairs_charts.seed_depths(family_results.seeds_table(pair), pair)
    for place, trace in enumerate(chart.figure.data):
        depths = [means[place] for means in pair["classes"]["mean_depths"].values()]
        assert list(trace.x) == depths
    classes = pair["classes"]
    assert (
        f"order {classes['pairs_in_the_same_order']} of {classes['pairs']} pairs" in chart.finding
    )


def test_members_look_different_also_when_colours_repeat():
    looks = [tuple(family_charts.member_marker(index).values()) for index in range(24)]
    assert len(set(looks)) == 24
    assert len({colour for colour, _ in looks[:8]}) == len({symbol for _, symbol in looks[:8]}) == 8


def test_the_best_is_not_told_from_what_a_seed_could_be(found):
    table = family_results.members_table(found)
    best, other = table.sort_values("bits_per_byte")["name"]
    chart = family_charts.pareto(table, "parameters", found["seeds"][0]["gap"] * 1.01)
    assert f"No order between {best} and {other}." in chart.finding
    assert "No order" not in family_charts.pareto(table, "parameters", 0.0).finding


def test_the_papers_results_are_drawn_as_printed_and_marked():
    table = family_results.paper_table()
    chart = paper_charts.losses(table)
    drawn = sorted(value for trace in chart.figure.data for value in trace.y)
    known = table[table["nll"].notna() & (table["model"] != "Vanilla")]
    assert drawn == sorted(known["nll"])
    assert any(note.text == "the paper's" for note in chart.figure.layout.annotations)
    assert (
        "1 of 5 MoR models have a lower loss than the plain Transformer (2.7824)" in chart.finding
    )
    assert "with 2 recursions (2.7511)" in chart.finding
    chart = paper_charts.throughput(family_results.paper_throughput_table())
    assert [list(trace.y) for trace in chart.figure.data] == [[1.23, 1.33, 1.42], [1.6, 1.95, 2.06]]
    assert any(note.text == "the paper's" for note in chart.figure.layout.annotations)


def test_every_table_of_the_page_is_the_files(family_root, found, monkeypatch):
    page = opened(family_root, monkeypatch)
    shown = [frame.value for frame in page.dataframe]
    name = found["members"][0]["name"]
    for table in (
        family_results.members_table(found),
        family_results.rules_table(found, name),
        family_results.sweep_table(found, name),
        family_results.differences_table(found, name),
        family_results.seeds_table(found["seeds"][0]),
    ):
        alike = [one for one in shown if set(table.columns) <= set(one.columns)]
        assert any(one[list(table.columns)].equals(table) for one in alike), list(table.columns)
    answers = claims.claims_table(found)["what we measured"].tolist()
    page = opened(family_root, monkeypatch, part="paper")
    written = page.table[0].value.to_numpy().ravel().tolist()
    assert all(as_text(answer) in written for answer in answers)


def test_members_of_unknown_speed_are_left_out_of_its_chart(found):
    table = family_results.members_table(found)
    unmeasured = [cost for cost in family_charts.COSTS if cost not in family_results.SPEEDS]
    assert family_charts.costs_of(table) == unmeasured
    table = family_results.members_table(with_speeds(found, ["second"]))
    chart = family_charts.pareto(table, "decode_tokens_per_s", None)
    assert chart.table["name"].tolist() == ["second"]
    assert family_charts.costs_of(table) == list(family_charts.COSTS)


def test_a_speed_is_drawn_from_its_slowest_to_its_fastest_round(found):
    table = family_results.members_table(with_speeds(found))
    assert table["training_tokens_per_s"].tolist() == [1000.0, 2000.0]  # not the log's 150
    chart = family_charts.pareto(table, "training_tokens_per_s", None)
    _, bars = layers(chart, "rule")
    assert bars["encoding"]["x"]["field"] == "training_tokens_per_s_low"
    assert bars["encoding"]["x2"]["field"] == "training_tokens_per_s_high"
    for place, row in enumerate(bars["rows"], start=1):
        assert row["training_tokens_per_s_high"] - row["training_tokens_per_s"] == 500 * place
        assert row["training_tokens_per_s"] - row["training_tokens_per_s_low"] == 250 * place
    (points,) = layers(chart, "point")
    assert points["rows"][0]["cost"] == "1,000 (750 - 1,500)"
    assert "cost" in [told["field"] for told in points["encoding"]["tooltip"]]
    assert chart.table["training_tokens_per_s_low"].tolist() == [750.0, 1500.0]
    assert len(layers(family_charts.pareto(table, "tokens", None), "rule")) == 1


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_says_where_speeds_were_measured(
    family_root, found, tmp_path, monkeypatch, language
):
    root = shutil.copytree(family_root, tmp_path / "copy")
    (root / "family.json").write_text(json.dumps(with_speeds(found, ["second"])))
    captions = [one.value for one in opened(root, monkeypatch, language).caption]
    assert "mor bench members" not in " ".join(captions)
    page = opened(root, monkeypatch, language, cost="decode_tokens_per_s")
    caption = next(one.value for one in page.caption if "mor bench members" in one.value)
    assert as_text("Some *CPU*") in caption
    assert "2026-11-26" in caption
    assert {"en": "median of 5 rounds", "zh": "5 轮的中位数"}[language] in caption
    assert {"en": "Not measured: first.", "zh": "未测量：first。"}[language] in caption


def test_a_file_from_before_the_common_benchmark_names_the_remedy(family_root, found, tmp_path):
    family = with_speeds(found)
    del family["members"][0]["decoding"]["conditions"]["processor"]
    (tmp_path / "family.json").write_text(json.dumps(family))
    with pytest.raises(ResultError, match="mor family"):
        family_results.read_family(tmp_path)


def test_fifteen_members_have_their_points_and_a_legend_that_fits(found):
    family = with_speeds(found)
    family["members"] = [
        json.loads(json.dumps(family["members"][number % 2])) | {"name": f"member-{number}"}
        for number in range(15)
    ]
    table = family_results.members_table(family)
    chart = family_charts.pareto(table, "decode_tokens_per_s", None)
    (points,) = layers(chart, "point")
    assert points["encoding"]["color"]["scale"]["domain"] == table["name"].tolist()
    assert points["encoding"]["color"]["legend"]["columns"] == 4
    few = family_charts.pareto(table[:6], "decode_tokens_per_s", None)
    assert layers(few, "point")[0]["encoding"]["color"]["legend"] is None
    assert chart.figure.height >= few.figure.height + 4 * 20, "four rows more"


def test_names_stand_at_the_points_and_what_one_points_at_stands_out(found):
    family = with_speeds(found)
    family["members"] = [
        json.loads(json.dumps(family["members"][number % 2])) | {"name": f"member-{number}"}
        for number in range(15)
    ]
    table = family_results.members_table(family)
    for shown in (table[:6], table):
        chart = family_charts.pareto(shown, "parameters", None)
        best = family_charts.frontier(shown, "parameters")
        named = [row["name"] for row in layers(chart, "point")[0]["rows"] if row["is_named"]]
        assert named == (best if shown is table else shown["name"].tolist())
    assert 0 < len(best) < len(table)
    texts = layers(chart, "text")
    always = [row["name"] for text in texts for row in text["rows"] if row["is_named"]]
    assert sorted(always) == sorted(best)
    assert sum(len(text["rows"]) for text in texts) == len(table)
    for text in texts:
        (is_named,) = {row["is_named"] for row in text["rows"]}
        opacity = text["encoding"]["opacity"]
        assert opacity["value"] == (0.2 if is_named else 0), "while one points at another"
        (condition,) = opacity["condition"]
        assert condition["value"] == 1
        assert condition.get("empty", True) == is_named, "while one points at none"
    (pointed,) = chart.figure.to_dict()["params"]
    assert pointed["select"] == {
        "type": "point",
        "fields": ["name"],
        "on": "pointerover",
        "clear": "pointerout",
    }


def test_other_compute_is_no_equal_compute(found):
    family = with_plain_member(found)
    family["members"][1]["training"]["active_flops"] *= 1.1
    table = claims.claims_table(family)
    assert table["what we measured"][0] == "Not measured here yet."
