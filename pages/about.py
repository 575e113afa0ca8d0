"""About: versions, hashes, how each number is computed, limits, licences."""

import streamlit as st

st.header("About")
