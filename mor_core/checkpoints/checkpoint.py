"""Finds checkpoint folders by name, checks them before anything is allocated, and loads them.

A folder holds config.json, the weights as safetensors, the tokenizer, the model card and result files: recipe, training
log, provenance, evaluation, samples, traces. No pickle is read, and no code from a folder is run.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mor_core.checkpoints.checkpoint_files import CheckpointError as CheckpointError
from mor_core.checkpoints.checkpoint_files import (
    check_config_fields,
    check_finite,
    check_weight_file,
    num_stored_parameters,
    read_json,
    weight_files,
    weights_sha256,
)
from mor_core.checkpoints.checkpoint_roots import checkpoint_root as checkpoint_root
from mor_core.checkpoints.checkpoint_roots import checkpoint_roots

# Re-exported, so that users of checkpoints import from this module alone.
from mor_core.checkpoints.checkpoint_writer import save_checkpoint as save_checkpoint
from mor_core.checkpoints.placement import DTYPE_NAMES as DTYPE_NAMES

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast

    from mor_core.model.config import MoRConfig
    from mor_core.model.model import MoRForCausalLM

DEFAULT_NAME = "default"


@dataclass(frozen=True)
class CheckpointInfo:
    """The facts about a checkpoint that are known without loading its weights.

    Attributes:
        name: of the folder.
        path: of the folder.
        sha256: of the weight files, in order of their names.
        config: the content of config.json.
        provenance: the content of provenance.json; empty without that file.
        evaluation: the content of evaluation.json; empty without that file.
        num_bytes: total size of the weight files.
    """

    name: str
    path: Path
    sha256: str
    config: dict[str, Any]
    provenance: dict[str, Any]
    evaluation: dict[str, Any]
    num_bytes: int


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A model ready to run, in evaluation mode, with its tokenizer.

    `trained_recursions` is set if the model runs more recursions than it was trained with, `trained_kv_strategy` if it
    runs another KV strategy than it was trained with (see `variants.py`).
    """

    model: "MoRForCausalLM"
    tokenizer: "PreTrainedTokenizerFast"
    info: CheckpointInfo
    trained_recursions: int | None = None
    trained_kv_strategy: str | None = None


def resolve_checkpoint(name: str | Path, root: Path | None = None) -> Path:
    """Return the folder of a checkpoint.

    Args:
        name: of a checkpoint in a root folder, a path, or `default`.
        root: where to look for names; default: all of `checkpoint_roots()`.

    Raises:
        CheckpointError: there is no such checkpoint; the message lists the known ones.
    """
    roots = checkpoint_roots() if root is None else [root]
    if str(name) == DEFAULT_NAME:
        return _default(roots[0])
    for folder in (*(root / name for root in roots), Path(name)):
        if (folder / "config.json").is_file():
            return folder
    known = ", ".join(folder.name for root in roots for folder in _folders(root)) or "none"
    searched = ", ".join(map(str, roots))
    raise CheckpointError(
        f"checkpoint {str(name)!r} was not found: it is neither a folder with a config.json nor a name in {searched}; "
        f"known checkpoints: {known}"
    )


def list_checkpoints(root: Path | None = None) -> list[CheckpointInfo]:
    """Describe every valid checkpoint of a folder, the default first; invalid ones are left out."""
    return scan_checkpoints(root)[0]


def scan_checkpoints(root: Path | None = None) -> tuple[list[CheckpointInfo], list[str]]:
    """Describe every valid checkpoint of a folder, the default first, and return the problems of the others.

    Without `root`, all of `checkpoint_roots()` are searched. If two roots hold the same name, the later checkpoint's
    name is prefixed with its root's.
    """
    roots = checkpoint_roots() if root is None else [root]
    found: dict[str, CheckpointInfo] = {}
    problems = []
    for folder in (folder for root in roots for folder in _folders(root)):
        try:
            info = describe_checkpoint(folder)
        except CheckpointError as error:
            problems.append(str(error))
            continue
        name = info.name if info.name not in found else f"{folder.parent.name}/{info.name}"
        found[name] = replace(info, name=name)
    try:
        default = _default(roots[0]).name
    except CheckpointError:
        default = ""
    return sorted(found.values(), key=lambda info: (info.name != default, info.name)), problems


def read_config(folder: Path) -> "MoRConfig":
    """Return a checkpoint's configuration. The first call imports transformers, which takes seconds.

    Raises:
        CheckpointError: a field is invalid or contradicts another.
    """
    from huggingface_hub.errors import StrictDataclassError

    from mor_core.model.config import MoRConfig

    try:
        return MoRConfig.from_pretrained(folder)
    except (ValueError, TypeError, StrictDataclassError) as error:
        reason = error.__cause__ or error
        raise CheckpointError(f"{folder.name}/config.json is not valid: {reason}") from error


def describe_checkpoint(folder: Path) -> CheckpointInfo:
    """Check a folder's config and the sizes of its weight files, and describe it.

    Raises:
        CheckpointError: a file is missing or truncated, or the folder holds another kind of model.
    """
    config = read_json(folder / "config.json")
    if config.get("model_type") != "mor":
        raise CheckpointError(
            f"{folder.name}/config.json must have model_type mor, got {config.get('model_type')!r}; "
            "this folder holds another kind of model"
        )
    check_config_fields(config, folder.name)
    files = weight_files(folder)
    for file in files:
        check_weight_file(file)
    return CheckpointInfo(
        name=folder.name,
        path=folder,
        sha256=weights_sha256(files),
        config=config,
        provenance=_read_optional(folder / "provenance.json"),
        evaluation=_read_optional(folder / "evaluation.json"),
        num_bytes=sum(file.stat().st_size for file in files),
    )


def load_checkpoint(
    folder: Path, *, device: "str | torch.device" = "cpu", dtype: "torch.dtype | None" = None
) -> LoadedCheckpoint:
    """Load a checkpoint for inference.

    Args:
        folder: of the checkpoint.
        device: to load the model onto.
        dtype: of the weights in memory; default float32, in which a CPU computes fastest, even if they are stored in
            bf16.

    Raises:
        CheckpointError: the folder is not a valid checkpoint, or config and weights do not match.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from mor_core.model.accounting import parameter_count
    from mor_core.model.model import MoRForCausalLM

    info = describe_checkpoint(folder)
    config = read_config(folder)
    stored = sum(num_stored_parameters(file) for file in weight_files(folder))
    needed = parameter_count(config)
    if stored != needed:
        raise CheckpointError(
            f"{folder.name}: config.json describes {needed} parameters, the weights hold {stored}; "
            "the files belong to different models"
        )
    model = MoRForCausalLM(config)
    try:
        weights: dict[str, Any] = {}
        for file in weight_files(folder):
            weights |= load_file(file)
        check_finite(weights, folder.name)
        missing, unexpected = model.load_state_dict(weights, strict=False)
    except (SafetensorError, RuntimeError) as error:
        raise CheckpointError(
            f"{folder.name}: the weights do not fit config.json: {error}"
        ) from error
    tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
    if set(missing) - tied or unexpected:
        raise CheckpointError(
            f"{folder.name}: the weights do not fit config.json; missing {sorted(set(missing) - tied)[:3]}, "
            f"not expected {unexpected[:3]}"
        )
    model.tie_weights()
    # transformers wraps `to` in a way that hides its signature.
    model = model.to(device=device, dtype=dtype or torch.float32).eval()  # type: ignore[call-arg]
    tokenizer = _read_tokenizer(folder, config.vocab_size)
    return LoadedCheckpoint(model, tokenizer, info)


def _read_tokenizer(folder: Path, vocab_size: int) -> "PreTrainedTokenizerFast":
    """Load the tokenizer and check it against the model's vocabulary."""
    from mor_core.checkpoints.tokenizer import check_vocabulary, load_tokenizer

    try:
        tokenizer = load_tokenizer(folder)
        check_vocabulary(tokenizer, vocab_size)
    # The Rust library raises a plain Exception for a damaged tokenizer.json.
    except Exception as error:
        raise CheckpointError(f"{folder.name}: the tokenizer cannot be used: {error}") from error
    return tokenizer


def _folders(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    return sorted(
        folder
        for folder in root.iterdir()
        if not folder.name.startswith(".") and (folder / "config.json").is_file()
    )


def _default(root: Path) -> Path:
    """Return the checkpoint that the file `default` names; without that file, the only checkpoint."""
    named = root / DEFAULT_NAME
    folders = _folders(root)
    if named.is_file():
        name = named.read_text().strip()
        for folder in folders:
            if folder.name == name:
                return folder
        raise CheckpointError(f"{named} names {name!r}, which is not a checkpoint in {root}")
    if len(folders) == 1:
        return folders[0]
    raise CheckpointError(
        f"there is no default checkpoint: {root} holds {len(folders)} checkpoints and no file {DEFAULT_NAME}; "
        "name one, or train one with: mor train recipes/stories-mor3-expert.toml"
    )


def _read_optional(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}
