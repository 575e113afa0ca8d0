"""Pure: traces and result files in, tables out.

Imports neither Streamlit nor torch; tested without a browser.
Not here: figures (charts).
"""
