"""Live: what is the model doing right now?"""

import streamlit as st

from app.runs import resources
from app.views import controls, live_view, preflight, race_view

checkpoints = resources.list_checkpoints()
with st.container(horizontal=True, horizontal_alignment="right", vertical_alignment="center"):
    preflight.switch()
    with st.container(width=250):
        is_race = race_view.choose_mode()
left, right = st.columns([6, 1.3], vertical_alignment="bottom")
with left:
    prompt = controls.prompt_field()
request = controls.settings(checkpoints, prompt) if checkpoints else None
if is_race:
    other = race_view.opponent(checkpoints, request)
    with right:
        is_running = race_view.transport((other, request) if other and request else None)
    race_view.panel(checkpoints, shown_running=is_running)
else:
    with right:
        job, is_running = live_view.transport(request)
    live_view.job_messages(job)
    live_view.panel(job, checkpoints, request, shown_running=is_running)
    live_view.keep(job, checkpoints)
