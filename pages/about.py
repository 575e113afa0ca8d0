"""About: versions, hashes, how each number is computed, limits, licences."""

import streamlit as st

from app.frame import messages
from app.runs import resources
from app.text.words import say, term, terms
from app.views import about_view as view

checkpoints = resources.list_checkpoints()

st.subheader(say("about.limits_heading"))
st.markdown(view.listed("limit"))

left, right = st.columns(2, gap="large")
with left:
    st.subheader(say("about.numbers_heading"))
    st.markdown(view.listed("number"))
with right:
    st.subheader(say("about.words_heading"))
    st.markdown("\n".join(f"- {term(name)}" for name in terms()))

st.subheader(say("about.checkpoints_heading"))
for info in checkpoints:
    with st.expander(messages.as_text(info.name), expanded=info is checkpoints[0]):
        st.table(
            view.checkpoint_table(info).set_index(say("about.column_fact")), border="horizontal"
        )
if not checkpoints:
    messages.show_info(say("frame.no_checkpoints"))
for problem in resources.checkpoint_problems():
    messages.show_warning(say("frame.left_out", problem=problem))

st.subheader(say("about.licences_heading"))
st.markdown(say("about.licences"))
for info in checkpoints:
    view.credits_section(info)

st.subheader(say("about.source_heading"))
st.markdown(say("about.source"))
st.code(view.CITATION, language="bibtex")

st.subheader(say("about.versions_heading"))
st.dataframe(view.versions_table(), hide_index=True, key="about_versions", width="content")
