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
if depths is None:
    notices.show_info(say("efficiency.no_depths", name=info.name))
else:
    view.counted_panels(info, depths)
view.speed_panel(traces, int(info.config.get("num_recursions", 1)))
bench_view.draw()
view.quality_panel(info)
view.training_panel(info)
family_view.draw()
