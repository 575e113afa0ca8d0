"""Other people's checkpoints in and out: Llama, GGUF, the official MoR code; and the proof that they are read right.

Official cases are recomputed by `mor conformance`.
Not here: our own folders (checkpoints).
"""
