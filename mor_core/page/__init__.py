"""A run as one page: the browser modules of strip, heatmaps and inspector, their joining, and the standalone HTML.

Words and colours come from the caller, so that no language and no palette is known here.
Not here: the same modules inside Streamlit (app.components), and what only two runs or a lesson need (there too).
"""
