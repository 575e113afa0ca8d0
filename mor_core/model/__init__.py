"""The idea and its parts: configuration, schedule, routers, recursions, layers, cache, backbone, accounting.

A Hugging Face model whose state is passed, not kept.
Not here: files of weights (checkpoints), batches of requests (serving), text (generation), optimisers (training).
"""
