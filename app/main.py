"""The app's entry: page settings and navigation. Each page is a script in `pages/`."""

import sys
from pathlib import Path

import streamlit as st

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # `streamlit run` adds only this file's folder
    sys.path.insert(0, str(ROOT))

st.set_page_config(
    page_title="MoR Explorer", page_icon=str(ROOT / "app" / "icon.svg"), layout="wide"
)

from app.frame import header  # noqa: E402  needs the path above

PAGES = ROOT / "pages"
page = st.navigation(
    [
        st.Page(PAGES / f"{name}.py", title=title, icon=icon, default=name == "live")
        for name, title, icon in header.pages()
    ],
    position="top",
)
header.draw()
page.run()
