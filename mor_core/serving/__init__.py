"""The engine: many requests in one batch, each token at its own recursion, with its own key-value cache.

Knows nothing of text, sampling or traces: a request says what its next token is.
Not here: what a run is made of (generation).
"""
