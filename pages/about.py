"""About: versions, hashes, how each number is computed, limits, licences."""

import streamlit as st

from app import about_view as view
from app import loading, notices, wording

checkpoints = loading.list_checkpoints()

st.subheader("What this does not show")
st.markdown("\n".join(f"- {limit}" for limit in wording.LIMITS))

left, right = st.columns(2, gap="large")
with left:
    st.subheader("How each number is computed")
    st.markdown(view.definitions(wording.NUMBERS))
with right:
    st.subheader("Words")
    st.markdown(view.definitions(wording.GLOSSARY))

st.subheader("Checkpoints")
for info in checkpoints:
    with st.expander(notices.as_text(info.name), expanded=info is checkpoints[0]):
        st.table(view.checkpoint_table(info).set_index("fact"), border="horizontal")
if not checkpoints:
    notices.show_info(wording.NO_CHECKPOINTS)
for problem in loading.checkpoint_problems():
    notices.show_warning(f"Left out: {problem}")

st.subheader("Licences and credits")
st.markdown(wording.LICENCES)
for info in checkpoints:
    view.credits_section(info)

st.subheader("Source")
st.markdown(wording.SOURCE)
st.code(wording.CITATION, language="bibtex")

st.subheader("Versions")
st.dataframe(view.versions_table(), hide_index=True, key="about_versions", width="content")
