"""Views in links: a view is read back as written, and invalid parameters become defaults."""

import re

import pytest

from app.components.view_state import NAMES, ViewState, view_from, view_of
from tests.test_architecture import ROOT


@pytest.mark.parametrize(
    "view",
    [
        ViewState(),
        ViewState("score-2", "word", "A5.B12.E300", (256, 512)),
        ViewState("prediction", "line", "C1", None),
    ],
)
def test_a_view_survives_its_link(view):
    assert view_from(view.parameters) == view


def test_a_link_can_name_every_metric_of_the_strip():
    script = (ROOT / "mor_core/page/strip/metrics.js").read_text(encoding="utf-8")
    declared = re.search(r"export const METRICS = \[(.+)\];", script)
    names = re.findall(r'"(\w+)"', declared[1])
    assert len(names) > 1
    assert [view_from({"metric": name}).metric for name in names] == names


@pytest.mark.parametrize("metric", ["button", "depth-2", "score-0", "score-100", "button_depth"])
def test_a_name_that_is_no_metric_becomes_the_default(metric):
    assert view_from({"metric": metric}).metric == "depth"


def test_the_view_at_first_needs_no_parameters():
    assert ViewState().parameters == {}
    assert set(ViewState("kept", "word", "A1", (0, 9)).parameters) == set(NAMES)


@pytest.mark.parametrize(
    "parameters",
    [
        {"metric": "colour", "by": "page", "pins": "Z1", "window": "9"},
        {"metric": "<b>", "by": "", "pins": "A1;B2", "window": "9-2"},
        {"pins": "A1.B2.C3.D4.E5.A6", "window": "-1-5"},
    ],
)
def test_what_is_no_choice_is_left_aside(parameters):
    assert view_from(parameters) == ViewState()


def test_what_the_browser_reports_is_read():
    found = {"metric": "kept", "granularity": "word", "pins": "A2", "window": [3.0, 90]}
    assert view_of(found) == ViewState("kept", "word", "A2", (3, 90))
    assert view_of({"window": None, "pins": 7}) == ViewState()
