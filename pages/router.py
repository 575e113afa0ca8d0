"""Router: how does the router decide?"""

import streamlit as st

from app import frame, loading, notices, run_source
from app import router_view as view
from app.words import say

checkpoints = loading.list_checkpoints()
if not checkpoints:
    notices.show_info(say("frame.no_checkpoints"))
    st.stop()
info = run_source.choose_checkpoint(checkpoints)
frame.provenance(info)
if info.config.get("router_type", "none") == "none":
    view.explain_no_router(info)
    st.stop()
chosen = run_source.choose_run(info, view.EXAMPLE)
if chosen is not None:
    view.scores_panel(chosen)
    view.knob_panel(chosen.trace)
view.evaluation_panels(info)
view.facts_panel(info)
