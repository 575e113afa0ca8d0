"""Explore: where did the depth go in this text?"""

import streamlit as st

st.header("Explore")
