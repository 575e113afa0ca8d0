"""Reads checkpoints of the official Mixture-of-Recursions code: vanilla, recursive, expert-choice and token-choice.

A folder holds a Llama config, weights, and often the run's settings (conf.yaml). Parts that recursions do not share are
found by comparing their copies, since releases from July 2025 to September 2026 untied attention in training.

Source: key patterns observed in the official code's output, with its attention-sharing fix of September 2026.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor
from transformers import LlamaConfig

from mor_core.checkpoints.checkpoint_files import check_config_fields, read_json
from mor_core.interop.llama import from_llama_config
from mor_core.interop.official_config import official_config
from mor_core.interop.official_inference import infer_settings
from mor_core.interop.official_settings import OfficialSettings, Setting, gather_settings
from mor_core.interop.official_weights import (
    LAYER_PARTS,
    OfficialWeights,
    Tensors,
    read_official_weights,
)
from mor_core.model.config import MoRConfig
from mor_core.model.layer_schedule import layer_schedule
from mor_core.model.model import MoRForCausalLM

_HEAD, _EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"
_Place = tuple[str, int, int]
"""Stage, recursion and layer within the stage; the numbers are 0-based."""


@dataclass(frozen=True)
class OfficialModel:
    """A loaded model and the settings that it was loaded with.

    Attributes:
        model: in float32 and evaluation mode.
        settings: the official settings that determined its config.
        stored_dtype: of the weights in the files.
    """

    model: MoRForCausalLM
    settings: dict[str, Setting]
    stored_dtype: torch.dtype


def load_official(folder: Path, settings: Mapping[str, Any] | None = None) -> MoRForCausalLM:
    """Load an official checkpoint as our model, in float32 and evaluation mode.

    Args:
        folder: with config.json, weights, and the run's conf.yaml if it is there.
        settings: by dotted official name such as `mor.expert.alpha`; they override those of conf.yaml.

    Raises:
        ValueError: settings are missing or unsupported, or the weights do not match them.
    """
    return read_official(folder, settings).model


def read_official(
    folder: Path,
    settings: Mapping[str, Any] | None = None,
    *,
    settings_file: Path | None = None,
    paper_defaults: bool = False,
) -> OfficialModel:
    """Load an official checkpoint and return it with the settings that it was loaded with.

    Args:
        folder: with config.json and weights.
        settings: by dotted official name; they override those of the file.
        settings_file: the run's settings; default: the folder's conf.yaml, if there is one.
        paper_defaults: use the paper's values for settings that are not known otherwise.

    Raises:
        ValueError: settings are missing or unsupported, or the weights do not match them.
    """
    if settings_file is None and (folder / "conf.yaml").is_file():
        settings_file = folder / "conf.yaml"
    plain = read_json(folder / "config.json")
    check_config_fields(plain, folder.name)
    weights = read_official_weights(folder)
    try:
        base = _plain_config(plain)
        known = gather_settings(
            settings_file,
            settings or {},
            infer_settings(weights, plain),
            paper_defaults=paper_defaults,
        )
        config = official_config(base, known, weights.router_network(base.hidden_size))
        model = _built(_with_own_parts(config, known, weights), weights)
    except (ValueError, StrictDataclassError) as error:
        reason = error if isinstance(error, ValueError) else error.__cause__ or error
        raise ValueError(f"{folder.name}: {reason}") from error
    return OfficialModel(model, known.used, weights.stored_dtype)


def _plain_config(plain: Mapping[str, Any]) -> MoRConfig:
    """Translate config.json, which describes a Llama of the unrolled depth."""
    if plain.get("model_type") != "llama":
        raise ValueError(
            f"config.json must have model_type llama, got {plain.get('model_type')!r}; convert an official checkpoint"
        )
    fields = {name: value for name, value in plain.items() if name != "kv_sharing"}
    try:
        return from_llama_config(LlamaConfig(**fields))
    except TypeError as error:
        raise ValueError(f"config.json is not a valid Llama config: {error}") from error


def _with_own_parts(
    config: MoRConfig, settings: OfficialSettings, weights: OfficialWeights
) -> MoRConfig:
    """Return the config with the head untied if it differs from the embedding, and unshared parts of recursions."""
    head, embedding = weights.outside.get(_HEAD), weights.outside.get(_EMBEDDING)
    if head is not None and embedding is not None and not torch.equal(head, embedding):
        # The official recursive model without a router trains a separate head, even if its config says tied.
        config = config.replaced(tie_word_embeddings=False)
    own = {LAYER_PARTS[name] for name, _ in _differing(_placed_layers(weights, config))}
    if config.sharing == "cycle" and config.num_recursions > 1:
        own |= set() if _shares_norms(settings) else {"norms"}
    if "feed-forward" in own:
        raise ValueError(
            "feed-forwards of different recursions must be equal copies, but they differ: these weights are not "
            "recursive, or not with the recursive.num_recursion and recursive.sharing of the settings"
        )
    return config.replaced(recursion_specific=sorted(own)) if own else config


def _shares_norms(settings: OfficialSettings) -> bool:
    return "recursive.ln_share" not in settings or settings.is_on("recursive.ln_share")


def _placed_layers(weights: OfficialWeights, config: MoRConfig) -> dict[_Place, Tensors]:
    """Return the official layers by their place in our model.

    Raises:
        ValueError: an official layer or recursion has no place in our model.
    """
    if weights.kind == "plain":
        places = [
            (call.stage, call.recursion_idx or 0, call.layer_idx) for call in layer_schedule(config)
        ]
        numbered = dict(enumerate(places))
    else:
        # Token-choice stores all recursions under one layer number.
        last = 1 + (1 if weights.kind == "token" else config.num_recursions)
        numbered = {0: ("prelude", 0, 0), last: ("coda", 0, 0)} if weights.is_middle else {}
    extra = sorted(set(weights.layers) - set(numbered))
    extra += sorted(
        recursion for recursion, _ in weights.copies if recursion >= config.num_recursions
    )
    if extra:
        raise ValueError(
            f"the weights do not fit the settings: there is no layer or recursion {extra[0]} "
            f"with {config.num_recursions} recursions and {config.num_hidden_layers} unrolled layers"
        )
    copies = {("shared", *place): tensors for place, tensors in weights.copies.items()}
    return copies | {numbered[number]: tensors for number, tensors in weights.layers.items()}


def _differing(placed: Mapping[_Place, Tensors]) -> set[tuple[str, int]]:
    """Return the (key, layer) pairs of the shared block whose copies differ between recursions."""
    first: dict[tuple[str, int], Tensor] = {}
    return {
        (name, layer)
        for (stage, _, layer), tensors in sorted(placed.items(), key=lambda item: item[0])
        for name, tensor in tensors.items()
        if stage == "shared" and not torch.equal(first.setdefault((name, layer), tensor), tensor)
    }


def _built(config: MoRConfig, weights: OfficialWeights) -> MoRForCausalLM:
    """Build the model from the weights, without allocating memory for sizes that config.json claims.

    Raises:
        ValueError: names the weights that are missing, unexpected or of another shape.
    """
    with torch.device("meta"):
        model = MoRForCausalLM(config)
    ours = _our_weights(config, weights)
    if config.router_control == "random_scores":
        # The official random control has no router. Ours has one that it does not use, so zeros will do.
        for name, tensor in model.state_dict().items():
            if name.startswith("model.routers.") and ".network." in name:
                ours.setdefault(name, torch.zeros(tensor.shape))
    try:
        missing, unexpected = model.load_state_dict(_separated(ours), strict=False, assign=True)
    except RuntimeError as error:
        raise ValueError(f"the weights do not fit config.json: {error}") from error
    missing = [name for name in missing if not (name == _HEAD and config.tie_word_embeddings)]
    if missing or unexpected:
        raise ValueError(
            "the weights do not fit the settings; "
            f"missing {', '.join(missing[:3]) or 'nothing'}, not expected {', '.join(unexpected[:3]) or 'nothing'}"
        )
    model.tie_weights()
    return model.eval()


def _our_weights(config: MoRConfig, weights: OfficialWeights) -> Tensors:
    """Return every tensor by our name."""
    ours = dict(weights.outside)
    if config.tie_word_embeddings:
        head = ours.pop(_HEAD, None)
        if head is not None:
            ours.setdefault(_EMBEDDING, head)
    for recursion, router in weights.routers.items():
        for name, tensor in router.items():
            # The official auxiliary router reads unscaled states, ours states divided by the temperature.
            is_first = name in ("aux_network.weight", "aux_network.0.weight")
            scale = config.router_temperature if is_first else 1.0
            ours[f"model.routers.{recursion}.{name}"] = tensor * scale
    placed = _placed_layers(weights, config)
    differing = _differing(placed)
    for (stage, recursion, layer), tensors in placed.items():
        for name, tensor in tensors.items():
            is_own = LAYER_PARTS[name] in config.recursion_specific and stage == "shared"
            # If all stored copies of a part are equal, safetensors may have dropped others as duplicates.
            everywhere = (name, layer) not in differing
            if everywhere or not (is_own and recursion):
                ours.setdefault(f"model.{stage}.{layer}.{name}", tensor)
            for later in range(1, config.num_recursions if is_own else 0):
                if everywhere or later == recursion:
                    ours.setdefault(f"model.recursion_parts.{later - 1}.{layer}.{name}", tensor)
    return ours


def _separated(weights: Mapping[str, Tensor]) -> Tensors:
    """Clone tensors that share memory, so that training updates them separately."""
    seen: set[int] = set()
    separate: Tensors = {}
    for name, tensor in weights.items():
        is_new = tensor.data_ptr() not in seen
        separate[name] = tensor.contiguous() if is_new else tensor.clone()
        seen.add(tensor.data_ptr())
    return separate
