"""Router: how does the router decide?"""

import streamlit as st

from app.frame import messages, page_parts
from app.runs import resources
from app.text.words import say
from app.views import router_view as view
from app.views import run_picker

checkpoints = resources.list_checkpoints()
if not checkpoints:
    messages.show_info(say("frame.no_checkpoints"))
    st.stop()
info = run_picker.choose_checkpoint(checkpoints)
page_parts.provenance(info)
if not view.has_router(info):
    view.explain_no_router(info)
    st.stop()
chosen = run_picker.choose_run(info, view.EXAMPLE)
if chosen is not None:
    view.scores_panel(chosen)
    view.knob_panel(chosen.trace)
view.evaluation_panels(info)
view.facts_panel(info)
