"""The engine: many requests in one batch, each token at its own recursion."""
