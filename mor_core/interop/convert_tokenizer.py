"""The tokenizer of a foreign model, read from its own file or folder; token 0 is made the beginning of text."""

from pathlib import Path
from typing import Any

from tokenizers import pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from mor_core.checkpoints.tokenizer import DOCUMENT_START, DOCUMENT_START_ID
from mor_core.interop.gguf_files import gguf_setting, open_gguf

_SPLIT_AS_GPT2 = ("default", "gpt-2")
_SPLIT_DIGITS = "smollm"  # as GPT-2, with every digit alone


def read_tokenizer(source: Path, folder: Path | None) -> PreTrainedTokenizerFast | None:
    """Read the tokenizer and let token 0 begin a text; `None` if the source is a folder without one.

    Args:
        source: the model's folder or .gguf file.
        folder: one with a tokenizer.json, which goes before the source's.

    Raises:
        ValueError: `folder` has none, its way of splitting text is not known, or its token 0 is no border of documents.
    """
    if folder is None and source.is_file():
        words = _gguf_tokenizer(source)
    else:
        place = folder or source
        if folder is None and not (place / "tokenizer.json").is_file():
            return None
        if not (place / "tokenizer.json").is_file():
            raise ValueError(
                f"{place} must hold a tokenizer.json, got none; name a folder that does as tokenizer"
            )
        words = PreTrainedTokenizerFast.from_pretrained(place, padding_side="left")
    first = words.convert_ids_to_tokens(DOCUMENT_START_ID)
    if first not in (DOCUMENT_START, words.bos_token, words.eos_token):
        raise ValueError(
            f"token {DOCUMENT_START_ID} must begin or end a document (be {DOCUMENT_START}, the tokenizer's bos or its "
            f"eos), got {first!r}: our programs begin every text with it; only such tokenizers are read"
        )
    words.bos_token = first
    return words


def _gguf_tokenizer(file: Path) -> PreTrainedTokenizerFast:
    """Build the tokenizer that a GGUF file describes.

    Hugging Face's builder splits text as GPT-2 does, whatever the file says, so other ways are refused.
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
