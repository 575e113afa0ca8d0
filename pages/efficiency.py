"""Efficiency: is it worth it?"""

import streamlit as st

from app import bench_view, family_view, frame, loading, notices
from app import efficiency_view as view
from app.words import say

checkpoints = loading.list_checkpoints()
if not checkpoints:
    notices.show_info(say("frame.no_checkpoints"))
    st.stop()
info = frame.choose_checkpoint(checkpoints, key="efficiency_checkpoint")
frame.provenance(info)
traces = view.recorded(info)
depths = view.measured_depths(info, traces)
family = family_view.read()
view.answers_row(info, depths, traces, family)
part = view.choose_part()
if part == view.PEERS:
    bench_view.draw()
elif part == view.FAMILY:
    family_view.draw(family)
elif part == view.PAPER:
    family_view.draw_paper(family)
else:
    view.model_panels(info, depths, traces)
