"""Recipes, data, optimisers, the training loop, and a saved state from which a run resumes bit for bit.

Built on Hugging Face Accelerate.
Not here: loss terms (model), the evaluation of a finished checkpoint (evaluation).
"""
