"""Folders of weights: find, check, load, place, write, tokenizers."""
