"""Live: what is the model doing right now?"""

import streamlit as st

from app import controls, live_view, loading

checkpoints = loading.list_checkpoints()
left, right = st.columns([6, 1.3], vertical_alignment="bottom")
with left:
    prompt = controls.prompt_field()
request = controls.settings(checkpoints, prompt) if checkpoints else None
with right:
    job, is_running = live_view.transport(request)
live_view.messages(job)
live_view.panel(job, checkpoints, shown_running=is_running)
live_view.keep(job)
