"""Charts hold the trace's own values, and nothing where nothing was computed."""

import math

import numpy as np
import pytest

from app.charts import depth as depth_charts
from app.charts import depth_grid, run_heatmaps
from app.charts.figure import hover_text, ordinal_scale
from app.style.theme import depth_colours, text_on, visible_text
from app.tables import trace_tables
from app.tables.run_findings import depth_finding
from mor_core.model.router_types import RouterTraits
from mor_core.traces.trace import Trace
from tests.parts import layers
from tests.scripted import DEPTHS, LOGITS, SLOTS, scripted_trace


@pytest.fixture
def trace() -> Trace:
    return scripted_trace()


def whole(trace: Trace) -> range:
    return range(len(trace.tokens))


def cells(chart) -> np.ndarray:
    return np.array(chart.figure.data[0].z, dtype=float)


def grid(trace: Trace, window: range, pinned: int | None = None):
    table, starts = trace_tables.depth_table(trace, window), trace_tables.boundaries(trace, window)
    recursions = trace.header.num_recursions
    return depth_grid.depth_grid(table, recursions, depth_finding(trace), starts, pinned)


def test_depth_cells_are_the_tokens_depths(trace):
    chart = grid(trace, whole(trace))
    shown, _ = layers(chart, "rect")
    assert len(shown["rows"]) == 3 * len(DEPTHS)
    depths = dict(zip(chart.table["position"], chart.table["recursion_depth"], strict=True))
    for cell in shown["rows"]:
        assert cell["recursion_depth"] == depths[cell["position"]] == DEPTHS[cell["position"]]
        assert cell["taken"] == (cell["recursion"] <= DEPTHS[cell["position"]])
    colour = shown["encoding"]["color"]
    assert colour["condition"]["test"] == "datum.taken"
    assert colour["value"] == "transparent"
    assert colour["condition"]["scale"]["domain"] == [1, 2, 3]
    assert colour["condition"]["scale"]["range"] == depth_colours(3)


def test_depth_digits_stand_in_the_deepest_cell(trace):
    (digits,) = layers(grid(trace, whole(trace)), "text")
    (kept,) = digits["transform"]
    assert kept == {"filter": "(datum.recursion === datum.recursion_depth)"}
    assert digits["encoding"]["text"]["field"] == "recursion_depth"
    assert digits["encoding"]["color"]["scale"]["range"] == [text_on(c) for c in depth_colours(3)]


def test_a_click_on_a_cell_selects_its_position_and_the_pinned_column_is_framed(trace):
    chart = grid(trace, whole(trace), pinned=4)
    spec = chart.figure.to_dict()
    (pin,) = [param for param in spec["params"] if param["name"] == chart.selection]
    assert pin["select"] == {
        "type": "point",
        "fields": ["position"],
        "on": "click",
        "clear": "mouseout",
    }
    frame = layers(chart, "rect")[1]
    assert {cell["position"] for cell in frame["rows"]} == {4}
    assert layers(grid(trace, whole(trace), pinned=99), "rect")[1]["rows"] == []


def test_score_cells_are_scores_around_the_threshold(trace):
    values = cells(run_heatmaps.score_heatmap(trace, whole(trace)))
    for column, depth in enumerate(DEPTHS):
        for row, logit in enumerate(LOGITS[depth]):
            if logit is None:
                assert np.isnan(values[row, column])
            else:  # threshold 0.5: the scale maps 0, 0.5, 1 to -1, 0, 1
                score = 1 / (1 + math.exp(-logit))
                assert values[row, column] == pytest.approx(2 * score - 1, abs=1e-6)


def test_score_scale_follows_the_threshold(trace):
    trace.header.routing["thresholds"] = [0.5, 0.9, 0.5]
    values = cells(run_heatmaps.score_heatmap(trace, whole(trace)))
    column = DEPTHS.index(2)
    score = 1 / (1 + math.exp(-LOGITS[2][1]))
    assert values[1, column] == pytest.approx((score - 0.9) / 0.9, abs=1e-6)
    assert values[1, column] < 0, "below this threshold, though above one half"


def test_token_choice_shows_the_scores_of_the_depths_and_the_one_taken(trace):
    trace.header.router = RouterTraits("token_choice", True, False, False, num_logits=3)
    for token in trace.tokens:
        token.router_scores = [0.2, 0.2, 0.2]
        token.router_scores[DEPTHS[token.position] - 1] = 0.6
    trace.tokens[0].special, trace.tokens[1].router_scores = True, [0.6, 0.7, 0.1]
    chart = run_heatmaps.score_heatmap(trace, whole(trace))
    values = cells(chart)
    for token in trace.tokens:
        assert values[:, token.position] == pytest.approx(token.router_scores)
    taken = next(data for data in chart.figure.data if data.name == "depth taken")
    assert list(taken.y) == [f"depth {depth}" for depth in DEPTHS]
    others = len(DEPTHS) - 1
    assert chart.finding.startswith(f"{others - 1} of {others} content tokens")


def test_cells_that_were_not_judged_are_struck_through(trace):
    figure = run_heatmaps.score_heatmap(trace, whole(trace)).figure
    struck = next(data for data in figure.data if data.name == "not judged")
    expected = {(i, "recursion 3") for i, depth in enumerate(DEPTHS) if depth == 1}
    assert set(zip(struck.x, struck.y, strict=True)) == expected


def test_cache_cells_are_the_slots_that_hold_the_token(trace):
    values = cells(run_heatmaps.cache_heatmap(trace, whole(trace)))
    for column, depth in enumerate(DEPTHS):
        assert list(np.flatnonzero(~np.isnan(values[:, column]))) == SLOTS[depth]


def test_token_without_a_depth_has_no_cells(trace):
    newest = trace.tokens[-1]
    newest.recursion_depth, newest.cached_slots = None, []
    newest.router_logits = [None] * 3
    for draw in (run_heatmaps.score_heatmap, run_heatmaps.cache_heatmap):
        assert np.isnan(cells(draw(trace, whole(trace)))[:, -1]).all()
    newest_cells = layers(grid(trace, whole(trace)), "rect")[0]["rows"][-3:]
    assert [cell["taken"] for cell in newest_cells] == [False] * 3
    assert [cell["recursion_depth"] for cell in newest_cells] == [None] * 3


def test_window_keeps_positions(trace):
    assert list(run_heatmaps.score_heatmap(trace, range(2, 5)).figure.data[0].x) == [2, 3, 4]
    chart = grid(trace, range(2, 5))
    assert {cell["position"] for cell in layers(chart, "rect")[0]["rows"]} == {2, 3, 4}
    assert chart.table["position"].tolist() == [2, 3, 4]


def boundaries(trace, window) -> dict[str, list[float]]:
    figure = run_heatmaps.score_heatmap(trace, window).figure
    lines = layers(grid(trace, window), "rule")
    starts = [(row["what"], row["position"]) for line in lines for row in line["rows"]]
    found = {
        data.name: [x for x in data.x if x is not None]
        for data in figure.data
        if data.type == "scatter" and data.mode == "lines"
    }
    assert starts == [(name, places[0] + 0.5) for name, places in found.items()]
    return found


def test_boundaries_are_drawn_where_they_lie_in_the_window(trace):
    trace.header.windows = [[0, 4], [2, 6]]
    assert boundaries(trace, whole(trace)) == {
        "generated from here": [1.5, 1.5],
        "next piece of the text": [3.5, 3.5],
    }
    assert boundaries(trace, range(2, 4)) == {}


def test_recursion_1_is_at_the_top_and_levels_do_not_depend_on_the_run(trace):
    for token in trace.tokens:
        token.recursion_depth = 1
    figure = run_heatmaps.score_heatmap(trace, whole(trace)).figure
    assert figure.layout.yaxis.autorange == "reversed"
    encoding = layers(grid(trace, whole(trace)), "rect")[0]["encoding"]
    assert encoding["y"]["type"] == "ordinal", "of which 1 is at the top"
    colour = encoding["color"]["condition"]
    assert colour["scale"]["domain"] == [1, 2, 3]
    assert '["depth 1", "depth 2", "depth 3"]' in colour["legend"]["labelExpr"]


def test_token_text_in_a_hover_is_no_markup(trace):
    trace.tokens[2].text = "<b>=x</b>"
    for draw in (run_heatmaps.score_heatmap, run_heatmaps.cache_heatmap):
        hover = draw(trace, whole(trace)).figure.data[0].customdata[0][2]
        assert "&lt;b&gt;=x&lt;/b&gt;" in hover
        assert "<b>=x" not in hover
    assert hover_text("a < b & c") == "a &lt; b &amp; c"


def test_every_hover_hides_the_trace_name(trace):
    for draw in (run_heatmaps.score_heatmap, run_heatmaps.cache_heatmap):
        assert draw(trace, whole(trace)).figure.data[0].hovertemplate.endswith("<extra></extra>")


def test_finding_states_the_mean_and_the_shares(trace):
    finding = grid(trace, whole(trace)).finding
    content = DEPTHS[1:]  # the first token is special
    assert f"{sum(content) / len(content):.2f} of 3 over {len(content)} content tokens" in finding


def test_share_bars_add_up_to_one(trace):
    table = trace_tables.shares_by_class(trace)
    figure = depth_charts.share_bars(table, 3, "").figure
    bars = [data for data in figure.data if data.type == "bar"]
    assert [bar.name for bar in bars] == ["depth 1", "depth 2", "depth 3"]
    for shares in zip(*(bar.x for bar in bars), strict=True):
        assert sum(shares) == pytest.approx(1)


def test_finding_of_classes_leaves_out_those_with_few_tokens():
    groups = ["noun"] * 6 + ["verb"] * 7 + ["rare"]
    table = trace_tables.depth_shares(groups, [3] * 6 + [1] * 7 + [2], 3)
    finding = depth_charts.class_finding(table, min_tokens=5)
    assert "Deepest: noun, mean 3.00 over 6" in finding
    assert "Shallowest: verb, 1.00 over 7" in finding
    assert "too few" in depth_charts.class_finding(table, min_tokens=7)


def test_figures_do_not_take_the_process_wide_template(trace):
    import plotly.io as pio

    before = pio.templates.default
    pio.templates.default = "plotly_dark"
    try:
        figure = run_heatmaps.score_heatmap(trace, whole(trace)).figure
        assert figure.layout.template.layout.paper_bgcolor is None
    finally:
        pio.templates.default = before


@pytest.mark.parametrize("recursions", range(1, 9))
def test_depth_colours_are_one_a_level_and_distinct(recursions):
    colours = depth_colours(recursions)
    assert len(set(colours)) == len(colours) == recursions
    scale = ordinal_scale(colours)
    assert (scale[0][0], scale[-1][0]) == (0, 1)


@pytest.mark.parametrize(("colour", "text"), [("#440154", "#ffffff"), ("#fde725", "#111111")])
def test_text_on_a_colour_can_be_read(colour, text):
    assert text_on(colour) == text


@pytest.mark.parametrize(
    ("text", "token_bytes", "shown"),
    [
        (" the", "20746865", "␣the"),
        ("\n\n", "0a0a", "⏎⏎"),
        ("\ufffd", "e2", "<0xE2>"),
        ("\x07", "07", "<0x07>"),
        ("", "", "∅"),
    ],
)
def test_whitespace_and_bytes_are_visible(text, token_bytes, shown):
    assert visible_text(text, token_bytes) == shown
