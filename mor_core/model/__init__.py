"""The Mixture-of-Recursions model: configuration, schedule, routers, recursions, layers, cache, backbone, accounting.

A Hugging Face model that keeps no state between calls; the cache is passed from call to call.
Not here: files of weights (checkpoints), batches of requests (serving), text (generation), optimisers (training).
"""
