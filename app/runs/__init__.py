"""Jobs, event streams, loaded models, and the only use of Streamlit's caches and session state.

A viewer's request becomes a job for the worker of its model.
Not here: widgets (views).
"""
