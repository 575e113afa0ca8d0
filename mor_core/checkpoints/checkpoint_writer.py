"""Writes checkpoint folders atomically."""

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
    """Write weights, config, tokenizer and result files; an existing folder is replaced only by a complete one.

    Args:
        folder: to write.
        model: whose weights are stored; it is not changed.
        tokenizer: of the model; without one, the app and `mor` cannot open the checkpoint.
        dtype: of the stored weights; default bf16.
        files: contents of further files, such as the model card and result files, by relative name.

    Raises:
        CheckpointError: the disk is full or the folder cannot be written; an existing folder is unchanged.
    """
    import torch

    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        stored = dtype or torch.bfloat16
        weights = {name: tensor.to(stored) for name, tensor in model.state_dict().items()}
        if model.config.tie_word_embeddings:
            del weights["lm_head.weight"]  # the same tensor as the embedding
        model.save_pretrained(partial, state_dict=weights, max_shard_size=MAX_SHARD_SIZE)
        if tokenizer is not None:
            tokenizer.save_pretrained(partial)
        for name, content in (files or {}).items():
            data = content.encode() if isinstance(content, str) else content
            (partial / name).write_bytes(data)
        partial.chmod(0o755)  # mkdtemp and safetensors restrict permissions to the owner
        for file in partial.iterdir():
            file.chmod(0o644)
        _replace(folder, partial)
    except Exception as error:
        shutil.rmtree(partial, ignore_errors=True)
        # Any Exception: safetensors reports a full disk with an error class of its own.
        raise CheckpointError(
            f"{folder} could not be written: {error}; free space or choose another folder. "
            "What was there before is untouched"
        ) from error


def _replace(folder: Path, partial: Path) -> None:
    """Move `partial` to `folder`; an existing folder is set aside first and restored if the move fails."""
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
