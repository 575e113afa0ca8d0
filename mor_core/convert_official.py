"""Turns a folder of the official code into a checkpoint of ours, and says with which settings it was read."""

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mor_core.checkpoint import MAX_SHARD_SIZE, save_checkpoint
from mor_core.convert import _check_vocabulary, _load_tokenizer
from mor_core.official import OfficialModel, read_official
from mor_core.official_inference import infer_settings
from mor_core.official_weights import official_weight_files, read_official_weights
from mor_core.provenance import code_revision, package_versions
from mor_core.tokenizer import DOCUMENT_START_ID
from mor_core.weightfiles import CheckpointError, read_json, weights_sha256

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
    has_words = tokenizer is not None or (source / "tokenizer.json").is_file()
    words = _load_tokenizer(source, tokenizer) if has_words else None
    official = read_official(
        source, settings, settings_file=settings_file, paper_defaults=paper_defaults
    )
    papers = _provenance(source, destination, official, tokenizer if has_words else "none")
    files = {PAPERS: f"{json.dumps(papers, indent=2)}\n"}
    if words is None:
        _save_without_words(destination, official, files)
        return False
    _check_vocabulary(words, official.model)
    official.model.config.bos_token_id = DOCUMENT_START_ID
    save_checkpoint(destination, official.model, words, files=files)
    return True


def _provenance(
    source: Path, destination: Path, official: OfficialModel, tokenizer: Path | str | None
) -> dict[str, Any]:
    settings = {
        name: {"value": setting.value, "origin": setting.origin}
        for name, setting in official.settings.items()
    }
    return {
        "name": destination.name,
        "title": f"Converted from {source.name}, not trained since",
        "source": source.name,
        "source_sha256": weights_sha256(official_weight_files(source)),
        "source_dtype": str(official.stored_dtype).removeprefix("torch."),
        "conversion": {"settings": settings},
        "tokenizer": "source" if tokenizer is None else Path(tokenizer).name,
        "code_revision": code_revision(),
        "versions": package_versions(),
    }


def _save_without_words(destination: Path, official: OfficialModel, files: dict[str, str]) -> None:
    """Write config, weights and papers; an older folder is replaced only by a complete one."""
    model = official.model
    destination.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{destination.name}-", dir=destination.parent))
    try:
        weights = {
            name: tensor.to(official.stored_dtype) for name, tensor in model.state_dict().items()
        }
        if model.config.tie_word_embeddings:
            del weights["lm_head.weight"]
        model.config.dtype = official.stored_dtype
        model.save_pretrained(partial, state_dict=weights, max_shard_size=MAX_SHARD_SIZE)
        for name, content in files.items():
            (partial / name).write_text(content, encoding="utf-8")
        partial.chmod(0o755)
        for file in partial.iterdir():
            file.chmod(0o644)
        if destination.exists():
            shutil.rmtree(destination)
        partial.rename(destination)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise CheckpointError(f"{destination} could not be written: {error}") from error
