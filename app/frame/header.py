"""The header of every page: navigation, appearance, link, and language."""

import streamlit as st

from app.components.copylink import copy_link
from app.runs import session
from app.style import palettes
from app.style.theme import text_on
from app.text.words import LANGUAGES, follow, say, say_in

ICONS = {
    "live": ":material/play_circle:",
    "explore": ":material/search:",
    "router": ":material/alt_route:",
    "kv_cache": ":material/memory:",
    "compare": ":material/compare_arrows:",
    "efficiency": ":material/speed:",
    "learn": ":material/school:",
    "checkpoints": ":material/inventory_2:",
    "about": ":material/info:",
}
SCALES = {palettes.NORMAL_TEXT: 1.0, "large": 1.2, "largest": 1.45}
# Streamlit's top bar takes no widgets, so CSS moves the tools there.
_STYLE = """<style>
.st-key-header_tools { position: fixed; top: 0.45rem; right: 3.6rem; z-index: 1000000; width: auto !important; }
.st-key-header_tools > div { width: auto !important; }
:root { --mor-scale: %s; }
html { font-size: calc(16px * %s) !important; }
</style>"""


def pages() -> list[tuple[str, str, str]]:
    """Return each page's script name, title in the viewer's language, and icon."""
    follow(session.language)
    session.take_language(LANGUAGES)
    session.take_look(SCALES)
    return [(name, say(f"frame.page_{name}"), icon) for name, icon in ICONS.items()]


def draw() -> None:
    """Draw the tools at the right of the top bar: appearance, link and language."""
    palettes.follow(session.palette)
    session.keep_look()
    with st.container(
        key="header_tools",
        horizontal=True,
        gap="xsmall",
        vertical_alignment="center",
        width="content",
    ):
        with st.popover(
            say("frame.look"),
            icon=":material/format_size:",
            type="tertiary",
            help=say("frame.look_help"),
        ):
            _look()
        copy_link(key="header_link")
        with st.container(key="header_language", horizontal=True, gap="xsmall", width="content"):
            _languages()
    scale = SCALES[session.text_size()]
    st.html(_STYLE % (scale, scale))


def _languages() -> None:
    """Draw a button for each other language, labelled in that language."""
    for language, name in LANGUAGES.items():
        if language != session.language():
            st.button(
                name,
                key=f"header_language_{language}",
                type="tertiary",
                help=say_in(language, "frame.other_language_help", name=name),
                on_click=session.set_language,
                args=(language,),
            )


def _look() -> None:
    st.segmented_control(
        say("frame.text_size"),
        list(SCALES),
        format_func=lambda name: say(f"frame.text_{name}"),
        required=True,
        key=session.TEXT_SIZE,
    )
    st.segmented_control(
        say("frame.palette"),
        list(palettes.PALETTES),
        format_func=lambda name: say(f"frame.palette_{name}"),
        required=True,
        key=session.PALETTE,
        help=say("frame.palette_help"),
    )
    swatches = (
        f'<span style="background:{colour};color:{text_on(colour)};padding:2px 12px">{depth}</span>'
        for depth, colour in enumerate(palettes.depth_colours(4), start=1)
    )
    st.html(f"<div>{''.join(swatches)}</div>")
