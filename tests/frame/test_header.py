"""What stands above every page: text size and palette, kept in the link; and addresses of pages."""

import json

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient
from streamlit.testing.v1 import AppTest

from app.frame import header
from app.frame.deep_links import page_routes
from app.style import palettes
from tests.parts import components
from tests.views.test_live import ENTRY, checkpoints

__all__ = ["checkpoints"]


@pytest.fixture(autouse=True)
def back_to_the_default():
    yield
    palettes.follow(lambda: palettes.DEFAULT)


def opened(**query: str) -> AppTest:
    page = AppTest.from_file(ENTRY, default_timeout=60)
    for name, value in query.items():
        page.query_params[name] = value
    page.run()
    assert not page.exception
    return page


def strip_colours(page: AppTest) -> list[str]:
    return json.loads(components(page)[0].proto.json)["colours"]["3"]


def test_a_link_names_palette_and_text_size(checkpoints) -> None:
    page = opened(palette="cividis", text="large")
    assert strip_colours(page)[0] == "#00224e"
    assert "--mor-scale: 1.2" in " ".join(str(part.proto.body) for part in page.get("html"))


def test_unknown_names_in_a_link_are_left_aside(checkpoints) -> None:
    page = opened(palette="rainbow", text="huge")
    assert page.button_group(key="palette").value == palettes.DEFAULT
    assert page.button_group(key="text").value == "normal"


def test_a_choice_is_kept_in_the_link_and_on_other_pages(checkpoints) -> None:
    page = opened()
    before = strip_colours(page)
    page.button_group(key="palette").set_value("contrast").run()
    assert strip_colours(page) != before
    assert page.query_params["palette"] == "contrast"
    page.switch_page("../pages/about.py").run()
    assert page.button_group(key="palette").value == "contrast"
    page.button_group(key="palette").set_value("viridis").run()
    assert "palette" not in page.query_params


def test_a_link_copied_on_another_page_names_language_and_look(checkpoints) -> None:
    page = opened(lang="en", palette="cividis")
    assert page.query_params == {"palette": "cividis"}
    page.session_state["lang"] = "zh"
    page.switch_page("../pages/about.py")
    page.query_params.clear()  # as the menu does
    page.run()
    assert page.query_params == {"lang": "zh", "palette": "cividis"}


def test_every_page_can_be_opened_by_its_address() -> None:
    with TestClient(Starlette(routes=page_routes(header.ICONS))) as client:
        for name in header.ICONS:
            answer = client.get(f"/{name}")
            assert answer.status_code == 200
            assert "BACKEND_BASE_URL: window.location.origin" in answer.text
            assert '<div id="root">' in answer.text
