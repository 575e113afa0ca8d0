"""The engine: many requests in one batch, each token at its own recursion, with its own key-value cache.

The engine has no text, sampling or traces: its caller chooses each request's next token.
Not here: generation runs (generation).
"""
