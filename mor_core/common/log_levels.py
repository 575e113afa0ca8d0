"""Keeps out of the terminal what other libraries say where the user can do nothing about it."""

import logging


def hush_imports() -> None:
    """Let torchao, which transformers imports if it is there, and what it calls, speak of errors alone."""
    for name in ("torchao", "torch.utils._pytree"):
        logging.getLogger(name).setLevel(logging.ERROR)
