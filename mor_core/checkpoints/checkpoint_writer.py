"""Writes checkpoint folders: as a whole, or not at all."""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mor_core.checkpoints.checkpoint_files import CheckpointError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast

    from mor_core.model.model import MoRForCausalLM

MAX_SHARD_SIZE = "15MB"


def save_checkpoint(
    folder: Path,
    model: "MoRForCausalLM",
    tokenizer: "PreTrainedTokenizerFast | None",
    *,
    dtype: "torch.dtype | None" = None,
    files: Mapping[str, str | bytes] | None = None,
) -> None:
    """Write weights, config, tokenizer and papers; an older folder is replaced only by a complete one.

    Args:
        folder: the checkpoint's place.
        model: whose weights are stored; it stays as it is.
        tokenizer: its tokenizer; a folder without one holds a model that our programs do not open.
        dtype: in which the weights are stored; default bf16.
        files: papers to write beside them, by relative name.

    Raises:
        CheckpointError: the disk is full or the folder cannot be written; the older folder is untouched.
    """
    import torch

    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        stored = dtype or torch.bfloat16
        weights = {name: tensor.to(stored) for name, tensor in model.state_dict().items()}
        if model.config.tie_word_embeddings:
            del weights["lm_head.weight"]  # the embedding, once more
        model.save_pretrained(partial, state_dict=weights, max_shard_size=MAX_SHARD_SIZE)
        if tokenizer is not None:
            tokenizer.save_pretrained(partial)
        for name, content in (files or {}).items():
            data = content.encode() if isinstance(content, str) else content
            (partial / name).write_bytes(data)
        partial.chmod(0o755)  # mkdtemp and safetensors make what they write the owner's alone
        for file in partial.iterdir():
            file.chmod(0o644)
        _replace(folder, partial)
    except Exception as error:
        shutil.rmtree(partial, ignore_errors=True)
        # safetensors reports a full disk as an error of its own; whatever failed, nothing was replaced.
        raise CheckpointError(
            f"{folder} could not be written: {error}; free space or choose another folder. "
            "What was there before is untouched"
        ) from error


def _replace(folder: Path, partial: Path) -> None:
    """Put `partial` in the place of `folder`, which waits aside until that has worked."""
    if not folder.exists():
        partial.rename(folder)
        return
    aside = folder.with_name(f".{folder.name}-before")
    shutil.rmtree(aside, ignore_errors=True)
    folder.rename(aside)
    try:
        partial.rename(folder)
    except OSError:
        aside.rename(folder)
        raise
    shutil.rmtree(aside)
