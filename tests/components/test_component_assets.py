"""The code of browser components is fetched as files: sent inline, 100 KB went along with every change of a page."""

from pathlib import Path

from streamlit.testing.v1 import AppTest

from app.components.component_assets import AssetComponent
from tests.loops import for_each

ROOT = Path(__file__).resolve().parents[2]
MOUNT = """
import streamlit as st
from streamlit.components.v2.get_bidi_component_manager import get_bidi_component_manager
from tests.components.test_component_assets import LAMP, OTHER

LAMP(key="lamp", data={"lit": True})
st.text(get_bidi_component_manager().get_component_asset_root(LAMP.name))
"""
LAMP = AssetComponent("lamp", html="<i></i>", css="i { color: red }", js="export default () => {}")
OTHER = AssetComponent("lamp", html="", css="i { color: red }", js="export default null")


def test_code_and_style_are_fetched_as_files() -> None:
    for _ in range(2):  # each has a server of its own
        page = AppTest.from_string(MOUNT, default_timeout=30).run()
        assert not page.exception
        sent = page.get("bidi_component")[0].proto
        assert (sent.js_content, sent.css_content) == ("", "")
        assert sent.html_content == "<i></i>"
        folder = Path(page.text[0].value)
        assert (folder / sent.js_source_path).read_text() == "export default () => {}"
        assert (folder / sent.css_source_path).read_text() == "i { color: red }"


def test_a_file_is_named_after_what_it_holds() -> None:
    lamp, other = (
        AppTest.from_string(script, default_timeout=30).run().get("bidi_component")[0].proto
        for script in (MOUNT, MOUNT.replace("LAMP(", "OTHER("))
    )
    assert other.css_source_path == lamp.css_source_path
    assert other.js_source_path != lamp.js_source_path


@for_each(
    sorted((ROOT / "app" / "components").glob("*/__init__.py")), lambda path: path.parent.name
)
def test_no_component_sends_its_code_inline(path: Path) -> None:
    assert "v2.component(" not in path.read_text()
