"""Keeps out of the terminal what other libraries say while imported, where the user can do nothing about it."""

import logging


def hush_imports() -> None:
    """Let torchao, which transformers imports if it is there, keep to itself which GPU code it has no use for here."""
    for name in ("torchao", "torch.utils._pytree"):
        logging.getLogger(name).setLevel(logging.ERROR)
