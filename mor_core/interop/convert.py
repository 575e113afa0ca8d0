"""Converts a Llama into a checkpoint of ours, plain or folded into recursions, with tokenizer and provenance."""

import json
from pathlib import Path
from typing import Literal

from mor_core.checkpoints.checkpoint import save_checkpoint
from mor_core.checkpoints.checkpoint_files import weight_files
from mor_core.checkpoints.tokenizer import DOCUMENT_START_ID, check_vocabulary
from mor_core.interop.convert_tokenizer import read_tokenizer
from mor_core.interop.llama import read_llama
from mor_core.model.uptraining import Init, recursive_start
from mor_core.training.provenance import conversion_provenance


def convert_llama(
    source: Path,
    destination: Path,
    *,
    recursions: int | None = None,
    init: Init = "stepwise",
    router: Literal["none", "expert_choice"] = "none",
    tokenizer: Path | None = None,
) -> bool:
    """Write a Llama as a checkpoint: weights, config, tokenizer if there is one, provenance.json.

    With a tokenizer the weights are stored in bf16, as in all our checkpoints. Without one, the weights are stored in
    float32, and the app and `mor` cannot open the folder.

    Our programs begin every text with token 0, so the written tokenizer and config name it as BOS token, even if the
    source names another (SmolLM2-Instruct: `<|im_start|>`). The EOS token stays the source's.

    Args:
        source: a Llama folder, or a .gguf file (which needs the package `gguf`).
        destination: the checkpoint's folder; an existing one is replaced.
        recursions: fold the layers, except the first and the last, into this many; `None` keeps the plain model.
        init: how the shared layers are initialised, see `uptraining.source_layers`.
        router: `expert_choice` adds new, untrained routers to the folded model.
        tokenizer: a folder with a tokenizer.json; default: the source's own.

    Returns:
        Whether a tokenizer was written.

    Raises:
        ValueError: the source cannot be represented, its layers do not divide evenly, or the tokenizer does not fit.
        CheckpointError: the destination cannot be written.
    """
    if recursions is None and router != "none":
        raise ValueError(
            f'recursions must be given with router="{router}": routers choose among recursions'
        )
    fast_tokenizer = read_tokenizer(source, tokenizer)
    model = read_llama(source)
    if fast_tokenizer is not None:
        check_vocabulary(fast_tokenizer, model.config.vocab_size)
        model.config.bos_token_id = DOCUMENT_START_ID
    if recursions is not None:
        model = recursive_start(model, num_recursions=recursions, init=init, router=router)
    folded = {} if recursions is None else {"recursions": recursions, "init": init}
    files = [source] if source.is_file() else weight_files(source)
    origin = conversion_provenance(
        source,
        destination,
        files,
        {**folded, "router": router},
        "none" if fast_tokenizer is None else tokenizer,
    )
    save_checkpoint(
        destination,
        model,
        fast_tokenizer,
        dtype=model.dtype if fast_tokenizer is None else None,
        files={"provenance.json": f"{json.dumps(origin, indent=2)}\n"},
    )
    return fast_tokenizer is not None
