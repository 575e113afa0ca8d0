"""KV cache: what is kept?"""

import streamlit as st

from app import frame, loading, notices, run_source
from app import kv_view as view
from app.words import say

checkpoints = loading.list_checkpoints()
if not checkpoints:
    notices.show_info(say("frame.no_checkpoints"))
    st.stop()
info = run_source.choose_checkpoint(checkpoints)
frame.provenance(info)
chosen = run_source.choose_run(info, view.EXAMPLE)
if chosen is not None:
    view.occupancy_panel(chosen.trace)
    view.growth_panel(chosen.trace)
    view.strategies_panel(info, chosen.trace)
view.paper_panel(None if chosen is None else chosen.trace)
