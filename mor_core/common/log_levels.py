"""Log levels of other libraries, whose warnings a user can do nothing about."""

import logging


def silence_import_warnings() -> None:
    """Log errors only from torchao, which transformers imports if installed, and from torch's pytree."""
    for name in ("torchao", "torch.utils._pytree"):
        logging.getLogger(name).setLevel(logging.ERROR)
