"""Turns a folder of the official code into a checkpoint of ours, and says with which settings it was read."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mor_core.checkpoints.checkpoint import save_checkpoint
from mor_core.checkpoints.checkpoint_files import read_json
from mor_core.checkpoints.tokenizer import DOCUMENT_START_ID, check_vocabulary
from mor_core.interop.convert_tokenizer import read_tokenizer
from mor_core.interop.official import read_official
from mor_core.interop.official_inference import infer_settings
from mor_core.interop.official_weights import official_weight_files, read_official_weights
from mor_core.training.provenance import conversion_provenance

PAPERS = "provenance.json"


def is_official(source: Path) -> bool:
    """Whether a folder that says it is a Llama is one of the official code's: by its settings, keys or equal layers.

    A vanilla model without its settings is a Llama like any other; only its pickled weights tell it.

    Raises:
        CheckpointError: config.json cannot be read.
    """
    if not source.is_dir():
        return False
    plain = read_json(source / "config.json")
    if (source / "conf.yaml").is_file() or plain.get("kv_sharing"):
        return True
    if plain.get("model_type") != "llama":
        return False
    try:
        weights = read_official_weights(source)
    except ValueError:  # whatever it is, the reader of Llamas says better what is wrong with it
        return False
    inferred = infer_settings(weights, plain)
    is_pickled = official_weight_files(source)[0].suffix == ".bin"
    return bool(is_pickled or inferred["mor.enable"] or inferred["recursive.enable"])


def convert_official(
    source: Path,
    destination: Path,
    *,
    settings: Mapping[str, Any] | None = None,
    settings_file: Path | None = None,
    paper_defaults: bool = False,
    tokenizer: Path | None = None,
) -> bool:
    """Write an official model as a checkpoint: weights, config, tokenizer if there is one, provenance.json.

    With a tokenizer the weights are stored in bf16, as all our checkpoints are; without one the folder is no checkpoint
    that our programs open, and the weights keep the type that they have.

    Args:
        source: the official folder.
        destination: an older one is replaced.
        settings: by dotted official name; they go before those of the file.
        settings_file: the run's settings; default: the folder's conf.yaml, if there is one.
        paper_defaults: take the paper's choices for what nothing else says.
        tokenizer: a folder with a tokenizer.json; default: the source's own.

    Returns:
        Whether a tokenizer was written.

    Raises:
        ValueError: the source cannot be read or represented, or the tokenizer does not fit.
        CheckpointError: the destination cannot be written.
    """
    words = read_tokenizer(source, tokenizer)
    official = read_official(
        source, settings, settings_file=settings_file, paper_defaults=paper_defaults
    )
    choices = {
        name: {"value": setting.value, "origin": setting.origin}
        for name, setting in official.settings.items()
    }
    papers = conversion_provenance(
        source,
        destination,
        official_weight_files(source),
        {"settings": choices},
        "none" if words is None else tokenizer,
    )
    papers["source_dtype"] = str(official.stored_dtype).removeprefix("torch.")
    if words is not None:
        check_vocabulary(words, official.model.config.vocab_size)
        official.model.config.bos_token_id = DOCUMENT_START_ID
    save_checkpoint(
        destination,
        official.model,
        words,
        dtype=official.stored_dtype if words is None else None,
        files={PAPERS: f"{json.dumps(papers, indent=2)}\n"},
    )
    return words is not None
