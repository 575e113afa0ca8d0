"""Reads the config and weights of Llamas in llama.cpp's GGUF format, through Hugging Face's reader.

That reader silently skips what it does not know, so the file's own list of tensors and settings is checked first.
Quantised weights are dequantised. Needs the package `gguf`.

Source: github.com/ggml-org/ggml, docs/gguf.md.
"""

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig

_TENSORS = re.compile(
    r"token_embd\.weight|output\.weight|output_norm\.weight|"
    r"blk\.\d+\.(attn_norm|ffn_norm|attn_q|attn_k|attn_v|attn_output|ffn_gate|ffn_up|ffn_down)\.weight"
)


def read_gguf(file: Path) -> tuple[LlamaConfig, dict[str, Tensor]]:
    """Return a file's config and its weights in float32, by Hugging Face's names.

    Raises:
        ValueError: the package `gguf` is missing, the file is not GGUF, or it holds another kind of model.
    """
    _check(open_gguf(file))
    llama = AutoConfig.from_pretrained(file.parent, gguf_file=file.name)
    if llama.model_type != "llama":
        raise ValueError(
            f"{file.name} must hold a model of type llama, got {llama.model_type!r}; convert a Llama"
        )
    model = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, config=llama, dtype=torch.float32
    )
    return llama, model.state_dict()


def open_gguf(file: Path) -> Any:
    """Return the `gguf` package's reader of a file, which reads the metadata and tensor list but no weights yet.

    Raises:
        ValueError: the package `gguf` is missing, or the file is not GGUF.
    """
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise ValueError(
            f"reading {file.name} needs the package gguf; install it with: pip install gguf"
        ) from error
    try:
        return GGUFReader(file)
    except (OSError, ValueError, IndexError) as error:
        raise ValueError(f"{file} cannot be read as GGUF: {error}") from error


def gguf_setting(reader: Any, name: str) -> Any:
    """Return a setting of a file; `None` if the file lacks it."""
    field = reader.fields.get(name)
    return None if field is None else field.contents()


def _check(reader: Any) -> None:
    """Refuse tensors and settings that Hugging Face's reader would skip.

    Raises:
        ValueError: names the tensor or setting.
    """
    kind = gguf_setting(reader, "general.architecture")
    if kind != "llama":
        raise ValueError(f"general.architecture must be llama, got {kind!r}; convert a Llama")
    for tensor in reader.tensors:
        if not _TENSORS.fullmatch(tensor.name):
            raise ValueError(
                f"tensors must be those of a plain Llama, got {tensor.name}: biases, experts and scaled rotary "
                "embeddings are not supported"
            )
    for name in reader.fields:
        if name.startswith("llama.rope.scaling.") and gguf_setting(reader, name) != "none":
            raise ValueError(
                f"{name} must be absent, got {gguf_setting(reader, name)!r}: scaled rotary embeddings are "
                "not supported; convert a Llama without context extension"
            )
    width = gguf_setting(reader, "llama.rope.dimension_count")
    for name in ("llama.attention.key_length", "llama.attention.value_length"):
        length = gguf_setting(reader, name)
        if length not in (None, width):
            raise ValueError(
                f"{name} must equal llama.rope.dimension_count={width}, got {length}: partial rotary "
                "embeddings are not supported"
            )
