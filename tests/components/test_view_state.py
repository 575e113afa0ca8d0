"""What a link says of a view: read back as written, and whatever else it holds is left aside."""

import pytest

from app.components.view_state import NAMES, ViewState, view_from, view_of


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
