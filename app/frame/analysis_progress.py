"""Shows how far the reading of a viewer's own text is, on every page that takes one."""

import streamlit as st

from app.runs import analysis_jobs, session

POLL_S = 0.3


@st.fragment(run_every=POLL_S)
def watch() -> None:
    """Show how far the reading is; when it is over the page draws the result."""
    job = session.analysis_job()
    if job is None:
        return
    job.touch()
    if job.is_finished:
        st.rerun()
    share, words = analysis_jobs.progress(job)
    st.progress(min(share, 1.0), words)
