"""Recipes, data, optimisers, the loop, resumable state."""
