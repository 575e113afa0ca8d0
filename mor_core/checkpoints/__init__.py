"""Checkpoint folders: find, check, load onto a device, write; tokenizers; variants of a loaded model.

Weights are read from safetensors only, and file sizes are checked before anything is allocated.
Not here: other projects' formats (interop).
"""
