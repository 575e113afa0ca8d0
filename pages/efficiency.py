"""Efficiency: is it worth it?"""

import streamlit as st

from app.frame import messages, page_parts
from app.runs import resources
from app.tables import result_files
from app.text.words import say
from app.views import bench_view, family_view
from app.views import efficiency_view as view

checkpoints = resources.list_checkpoints()
if not checkpoints:
    messages.show_info(say("frame.no_checkpoints"))
    st.stop()
info = page_parts.choose_checkpoint(checkpoints, key="efficiency_checkpoint")
page_parts.provenance(info)
traces = messages.opened_traces(info.path)
calls = result_files.decode_table(traces)
depths = view.measured_depths(info, traces)
family = family_view.read()
view.summary_row(info, depths, calls, family)
part = view.choose_part()
if part == view.PEERS:
    bench_view.draw()
elif part == view.FAMILY:
    family_view.draw(family)
elif part == view.PAPER:
    family_view.draw_paper(family)
else:
    view.model_panels(info, depths, calls, traces)
