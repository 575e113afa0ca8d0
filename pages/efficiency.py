"""Efficiency: is it worth it?"""

import streamlit as st

st.header("Efficiency")
