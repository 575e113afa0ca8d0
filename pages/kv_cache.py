"""KV cache: what is kept?"""

import streamlit as st

from app.frame import messages, page_parts
from app.runs import resources
from app.text.words import say
from app.views import kv_view as view
from app.views import run_picker

checkpoints = resources.list_checkpoints()
if not checkpoints:
    messages.show_info(say("frame.no_checkpoints"))
    st.stop()
info = run_picker.choose_checkpoint(checkpoints)
page_parts.provenance(info)
chosen = run_picker.choose_run(info, view.EXAMPLE)
if chosen is not None:
    view.occupancy_panel(chosen.trace)
    view.growth_panel(chosen.trace)
    view.strategies_panel(info, chosen.trace)
view.paper_panel(None if chosen is None else chosen.trace)
