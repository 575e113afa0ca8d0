"""Every word that a viewer reads, in every language; display names; error messages.

Imports neither Streamlit nor torch.
Not here: units of numbers, and colours (style).
"""
