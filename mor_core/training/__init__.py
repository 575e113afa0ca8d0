"""Recipes, data, optimisers, the loop, and a state from which a run resumes bit for bit.

Built on Hugging Face Accelerate.
Not here: loss terms (model), what a finished checkpoint is worth (evaluation).
"""
