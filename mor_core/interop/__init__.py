"""Reads and writes other projects' checkpoints: Llama, GGUF, the official MoR code.

`mor conformance` compares our outputs with those of the official code.
Not here: our own folders (checkpoints).
"""
