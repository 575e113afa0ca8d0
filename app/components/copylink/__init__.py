"""A button that copies the page's address, including the state of the view; only the browser knows the address."""

from pathlib import Path

from app.components.component_assets import AssetComponent
from app.text.words import say
from mor_core.page.strip_files import script

_FOLDER = Path(__file__).parent


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


_mount = AssetComponent(
    "copy_link",
    html=_read("copylink.html"),
    css=_read("copylink.css"),
    js=script(_FOLDER / "copylink.js"),
)


def copy_link(*, key: str) -> None:
    """Draw the button."""
    _mount(
        key=key,
        data={"label": say("frame.copy_link"), "copied": say("frame.link_copied")},
        height=40,
    )
