"""Turns a Llama into a checkpoint of ours, plain or folded into recursions, with its tokenizer and its papers."""

import json
from pathlib import Path
from typing import Any, Literal

from tokenizers import pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from mor_core.checkpoint import save_checkpoint
from mor_core.gguf_files import gguf_setting, open_gguf
from mor_core.llama import read_llama
from mor_core.model import MoRForCausalLM
from mor_core.provenance import code_revision, package_versions
from mor_core.tokenizer import DOCUMENT_START, DOCUMENT_START_ID
from mor_core.uptraining import Init, recursive_start
from mor_core.weightfiles import weight_files, weights_sha256

_SPLIT_AS_GPT2 = ("default", "gpt-2")
_SPLIT_DIGITS = "smollm"  # as GPT-2, with every digit alone


def convert_llama(
    source: Path,
    destination: Path,
    *,
    recursions: int | None = None,
    init: Init = "stepwise",
    router: Literal["none", "expert_choice"] = "none",
    tokenizer: Path | None = None,
) -> None:
    """Write a Llama as a checkpoint: weights in bf16, config, tokenizer, provenance.json.

    Our programs begin every text with token 0, so the written tokenizer and config name it as beginning of text,
    whatever the source does (SmolLM2-Instruct names `<|im_start|>`). The end of text stays the source's.

    Args:
        source: a Llama folder, or a .gguf file (which needs the package `gguf`).
        destination: the checkpoint's folder; an older one is replaced.
        recursions: fold the layers into so many, the first and the last apart; `None` keeps the plain model.
        init: what the shared layers begin from, see `uptraining.source_layers`.
        router: give the folded model new, untrained routers.
        tokenizer: a folder with a tokenizer.json; default: the source's own.

    Raises:
        ValueError: the source cannot be represented, its layers do not divide, or no tokenizer fits.
        CheckpointError: the destination cannot be written.
    """
    if recursions is None and router != "none":
        raise ValueError(
            f'recursions must be given with router="{router}": routers choose among recursions'
        )
    words = _load_tokenizer(source, tokenizer)
    model = read_llama(source)
    _check_vocabulary(words, model)
    if recursions is not None:
        model = recursive_start(model, num_recursions=recursions, init=init, router=router)
    model.config.bos_token_id = DOCUMENT_START_ID
    folded = {} if recursions is None else {"recursions": recursions, "init": init}
    files = [source] if source.is_file() else weight_files(source)
    origin = {
        "name": destination.name,
        "title": f"Converted from {source.name}, not trained since",
        "source": source.name,
        "source_sha256": weights_sha256(files),
        "conversion": {**folded, "router": router},
        "tokenizer": "source" if tokenizer is None else tokenizer.name,
        "code_revision": code_revision(),
        "versions": package_versions(),
    }
    save_checkpoint(
        destination, model, words, files={"provenance.json": f"{json.dumps(origin, indent=2)}\n"}
    )


def _check_vocabulary(words: PreTrainedTokenizerFast, model: MoRForCausalLM) -> None:
    if len(words) > model.config.vocab_size:
        raise ValueError(
            f"the tokenizer must have at most vocab_size={model.config.vocab_size} tokens, got {len(words)}; "
            "give the tokenizer that the model was trained with"
        )


def _load_tokenizer(source: Path, folder: Path | None) -> PreTrainedTokenizerFast:
    """Load the tokenizer and let token 0 begin a text."""
    if folder is None and source.is_file():
        words = _gguf_tokenizer(source)
    else:
        place = folder or source
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
