"""Jobs, event streams, loaded models, and the only use of Streamlit's caches and session state.

What a viewer asks for becomes a job of the model's worker.
Not here: widgets (views).
"""
