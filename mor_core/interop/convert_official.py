"""Converts a checkpoint of the official code into one of ours; provenance.json lists the settings used."""

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


def is_official(source: Path) -> bool:
    """Whether a folder with a Llama config comes from the official code.

    Its settings file, its weight keys or equal layers show that. A vanilla model of the official code without a
    settings file looks like any other Llama, unless its weights are pickled.

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
    except ValueError:  # the Llama reader will report what is wrong
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

    With a tokenizer the weights are stored in bf16, as in all our checkpoints. Without one, the weights keep their
    dtype, and the app and `mor` cannot open the folder.

    Args:
        source: the official folder.
        destination: the checkpoint's folder; an existing one is replaced.
        settings: by dotted official name; they override those of the file.
        settings_file: the run's settings; default: the folder's conf.yaml, if there is one.
        paper_defaults: use the paper's values for settings that are not known otherwise.
        tokenizer: a folder with a tokenizer.json; default: the source's own.

    Returns:
        Whether a tokenizer was written.

    Raises:
        ValueError: the source cannot be read or represented, or the tokenizer does not fit.
        CheckpointError: the destination cannot be written.
    """
    fast_tokenizer = read_tokenizer(source, tokenizer)
    official = read_official(
        source, settings, settings_file=settings_file, paper_defaults=paper_defaults
    )
    choices = {
        name: {"value": setting.value, "origin": setting.origin}
        for name, setting in official.settings.items()
    }
    provenance = conversion_provenance(
        source,
        destination,
        official_weight_files(source),
        {"settings": choices},
        "none" if fast_tokenizer is None else tokenizer,
    )
    provenance["source_dtype"] = str(official.stored_dtype).removeprefix("torch.")
    if fast_tokenizer is not None:
        check_vocabulary(fast_tokenizer, official.model.config.vocab_size)
        official.model.config.bos_token_id = DOCUMENT_START_ID
    save_checkpoint(
        destination,
        official.model,
        fast_tokenizer,
        dtype=official.stored_dtype if fast_tokenizer is None else None,
        files={"provenance.json": f"{json.dumps(provenance, indent=2)}\n"},
    )
    return fast_tokenizer is not None
