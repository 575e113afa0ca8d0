"""What stands above every page: their names, and the switch of language."""

import streamlit as st

from app import state
from app.words import LANGUAGES, follow, say

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
# Streamlit has no place for a widget in its top bar, so the switch is put there by position.
_STYLE = """<style>
.st-key-header_language { position: fixed; top: 0.55rem; right: 4rem; z-index: 1000000; width: auto; }
</style>"""


def pages() -> list[tuple[str, str, str]]:
    """Return the script's name, the title and the icon of each page, in the viewer's language."""
    follow(state.language)
    state.take_language(LANGUAGES)
    return [(name, say(f"frame.page_{name}"), icon) for name, icon in ICONS.items()]


def draw() -> None:
    """Draw the switch of language."""
    st.html(_STYLE)
    other = next(name for name in LANGUAGES if name != state.language())
    st.button(
        say("frame.other_language"),
        key="header_language",
        type="tertiary",
        help=say("frame.other_language_help"),
        on_click=state.set_language,
        args=(other,),
    )
