"""Turns a Llama into a checkpoint of ours, plain or folded into recursions, with its tokenizer and its papers."""

import json
from pathlib import Path
from typing import Literal

from mor_core.checkpoint import save_checkpoint
from mor_core.convert_tokenizer import read_tokenizer
from mor_core.llama import read_llama
from mor_core.provenance import conversion_provenance
from mor_core.tokenizer import DOCUMENT_START_ID, check_vocabulary
from mor_core.uptraining import Init, recursive_start
from mor_core.weightfiles import weight_files


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
    words = read_tokenizer(source, tokenizer)
    model = read_llama(source)
    check_vocabulary(words, model.config.vocab_size)
    if recursions is not None:
        model = recursive_start(model, num_recursions=recursions, init=init, router=router)
    model.config.bos_token_id = DOCUMENT_START_ID
    folded = {} if recursions is None else {"recursions": recursions, "init": init}
    files = [source] if source.is_file() else weight_files(source)
    origin = conversion_provenance(
        source, destination, files, {**folded, "router": router}, tokenizer
    )
    save_checkpoint(
        destination, model, words, files={"provenance.json": f"{json.dumps(origin, indent=2)}\n"}
    )
