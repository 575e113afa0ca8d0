"""The progress bar of an analysis job, on every page that analyses a viewer's own text."""

import streamlit as st

from app.runs import analysis_jobs, session

POLL_S = 0.3


@st.fragment(run_every=POLL_S)
def watch() -> None:
    """Show the progress of the analysis; when it is done, rerun the page, which then draws the result."""
    job = session.analysis_job()
    if job is None:
        return
    job.touch()
    if job.is_finished:
        st.rerun()
    share, words = analysis_jobs.progress(job)
    st.progress(min(share, 1.0), words)
