"""Reads the tokenizer of another project's model and makes token 0 its BOS token."""

from pathlib import Path
from typing import Any

from tokenizers import pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from mor_core.checkpoints.tokenizer import DOCUMENT_START, DOCUMENT_START_ID
from mor_core.interop.gguf_files import gguf_setting, open_gguf

_SPLIT_AS_GPT2 = ("default", "gpt-2")
_SPLIT_DIGITS = "smollm"  # as GPT-2, with every digit as a piece of its own


def read_tokenizer(source: Path, folder: Path | None) -> PreTrainedTokenizerFast | None:
    """Return the tokenizer with token 0 as BOS token; `None` if the source is a folder without a tokenizer.

    Args:
        source: the model's folder or .gguf file.
        folder: with a tokenizer.json to use instead of the source's; `None` for the source's.

    Raises:
        ValueError: `folder` has no tokenizer.json, the GGUF file's pre-tokenizer is unknown, or token 0 neither begins
            nor ends a document.
    """
    if folder is None and source.is_file():
        tokenizer = _gguf_tokenizer(source)
    else:
        location = folder or source
        if folder is None and not (location / "tokenizer.json").is_file():
            return None
        if not (location / "tokenizer.json").is_file():
            raise ValueError(
                f"{location} must hold a tokenizer.json, got none; name a folder that does as tokenizer"
            )
        tokenizer = PreTrainedTokenizerFast.from_pretrained(location, padding_side="left")
    first = tokenizer.convert_ids_to_tokens(DOCUMENT_START_ID)
    if first not in (DOCUMENT_START, tokenizer.bos_token, tokenizer.eos_token):
        raise ValueError(
            f"token {DOCUMENT_START_ID} must begin or end a document (be {DOCUMENT_START}, the tokenizer's bos or its "
            f"eos), got {first!r}: our programs begin every text with it; name a folder with such a tokenizer"
        )
    tokenizer.bos_token = first
    return tokenizer


def _gguf_tokenizer(file: Path) -> PreTrainedTokenizerFast:
    """Build the tokenizer that a GGUF file describes.

    Hugging Face's builder always pre-tokenizes like GPT-2 and ignores the file's setting, so other settings are
    refused.

    Raises:
        ValueError: the file has another kind of tokenizer or pre-tokenizer.
    """
    reader = open_gguf(file)
    kind = gguf_setting(reader, "tokenizer.ggml.model")
    split = gguf_setting(reader, "tokenizer.ggml.pre") or "default"
    if kind != "gpt2" or split not in (*_SPLIT_AS_GPT2, _SPLIT_DIGITS):
        raise ValueError(
            f"the tokenizer of a GGUF file must be gpt2 that splits text as default, gpt-2 or smollm, got {kind!r} "
            f"and {split!r}; name a folder with its tokenizer.json as tokenizer"
        )
    built: Any = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    core = built.backend_tokenizer
    if split == _SPLIT_DIGITS:
        core.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), core.pre_tokenizer]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=built.bos_token,
        eos_token=built.eos_token,
        pad_token=built.pad_token,
        unk_token=built.unk_token,
        chat_template=built.chat_template,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )
