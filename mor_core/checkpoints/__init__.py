"""Folders of weights: find, check, load, place on a device, write; tokenizers; variants of a loaded model.

Only safetensors and weights_only files are read, sizes are checked before anything is allocated.
Not here: other projects' formats (interop).
"""
