"""The app's entry: page settings and navigation. Each page is a script in `pages/`."""

import sys
from pathlib import Path

import streamlit as st

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # `streamlit run` puts only this file's folder there
    sys.path.insert(0, str(ROOT))

st.set_page_config(
    page_title="MoR Explorer", page_icon=str(ROOT / "app" / "icon.svg"), layout="wide"
)

PAGES = ROOT / "pages"
st.navigation(
    [
        st.Page(PAGES / "live.py", title="Live", icon=":material/play_circle:", default=True),
        st.Page(PAGES / "explore.py", title="Explore", icon=":material/search:"),
        st.Page(PAGES / "efficiency.py", title="Efficiency", icon=":material/speed:"),
        st.Page(PAGES / "about.py", title="About", icon=":material/info:"),
    ],
    position="top",
).run()
