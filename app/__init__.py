"""The Streamlit app around `mor_core`: pages ask it for jobs, views and words."""
