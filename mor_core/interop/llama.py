"""Reads and writes Hugging Face Llamas: a Llama is our model with one recursion and no router, prelude or coda.

Weights keep their names, except that layer `model.layers.{i}` becomes `model.shared.{i}`. A setting that changes the
model's computation or training and that we do not support is refused, not dropped.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import LlamaConfig

from mor_core.checkpoints.checkpoint_files import check_weight_file, read_json, weight_files
from mor_core.interop.gguf_files import read_gguf
from mor_core.model.config import MoRConfig
from mor_core.model.layer_schedule import layer_schedule
from mor_core.model.model import MoRForCausalLM

_REQUIRED = {
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
    "attention_dropout": 0.0,
    "pretraining_tp": 1,
    "quantization_config": None,
}
"""The settings that our layers implement; other values are refused."""
_SAME_NAMES = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "max_position_embeddings",
    "rms_norm_eps",
    "initializer_range",
    "tie_word_embeddings",
    "use_cache",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
)
_LAYER = re.compile(r"model\.layers\.(\d+)\.(.+)")
_STAGE = re.compile(r"model\.(prelude|shared|coda|recursion_parts)\.")


def read_llama(source: Path) -> MoRForCausalLM:
    """Load a Llama as our plain model, in float32 and evaluation mode, with equal logits.

    Args:
        source: a folder with config.json and safetensors, or a .gguf file (which needs the package `gguf`).

    Raises:
        ValueError: the source is not a Llama, has an unsupported setting, or its weights do not match its config.
    """
    if source.suffix == ".gguf":
        llama, stored = read_gguf(source)
    else:
        llama, stored = _read_folder(source)
    config = from_llama_config(llama)
    # The meta device skips initialisation, since every weight comes from the file.
    with torch.device("meta"):
        model = MoRForCausalLM(config)
    weights = _our_names(stored, config)
    missing = sorted(set(model.state_dict()) - set(weights))
    unexpected = sorted(set(weights) - set(model.state_dict()))
    if config.tie_word_embeddings:
        missing = [name for name in missing if name != "lm_head.weight"]
    if missing or unexpected:
        raise ValueError(
            f"{source.name}: the weights do not fit the config; "
            f"missing {missing[:3]}, not expected {unexpected[:3]}"
        )
    try:
        model.load_state_dict(
            {name: weight.float() for name, weight in weights.items()}, strict=False, assign=True
        )
    except RuntimeError as error:
        raise ValueError(f"{source.name}: the weights do not fit the config: {error}") from error
    model.tie_weights()
    return model.eval()


def from_llama_config(llama: LlamaConfig) -> MoRConfig:
    """Translate a Llama's config into ours.

    Raises:
        ValueError: names the field, the rule, the value and the remedy.
    """
    for name, wanted in _REQUIRED.items():
        value = getattr(llama, name, wanted)
        if value != wanted:
            raise ValueError(
                f"{name} must be {wanted!r}, got {value!r}: our layers support nothing else; convert a Llama with "
                f"{name}={wanted!r}"
            )
    rope: dict[str, Any] = dict(llama.rope_parameters or {})
    theta = rope.pop("rope_theta")
    kind = rope.pop("rope_type")
    if kind != "default" or rope:
        raise ValueError(
            f"rope_parameters must be plain rotary embeddings (rope_type default and rope_theta alone), got {kind!r} "
            f"with {rope}: scaled rotary embeddings are not supported; convert a Llama without context extension"
        )
    return MoRConfig(
        num_prelude_layers=0,
        num_layers_per_recursion=llama.num_hidden_layers,
        num_recursions=1,
        num_coda_layers=0,
        router_type="none",
        rope_theta=theta,
        **{name: getattr(llama, name) for name in _SAME_NAMES},
    )


def write_llama(model: MoRForCausalLM, destination: Path) -> None:
    """Write a model without a router as a Llama folder, in the dtype of its weights, with equal logits.

    Recursions are unrolled: shared layers become equal copies, so the file grows.

    Args:
        model: plain or recursive.
        destination: a new or empty folder.

    Raises:
        ValueError: a Llama cannot represent the model, or the folder is not empty.
    """
    config: MoRConfig = model.config
    _refuse_what_llama_lacks(config)
    if destination.exists() and any(destination.iterdir()):
        raise ValueError(f"destination must be a new or empty folder, got {destination}")
    llama = LlamaConfig(
        num_hidden_layers=config.num_hidden_layers,
        rope_parameters={"rope_type": "default", "rope_theta": float(config.rope_theta)},
        architectures=["LlamaForCausalLM"],
        dtype=model.dtype,
        **{name: getattr(config, name) for name in _SAME_NAMES}
        | {"head_dim": config.attention_head_dim},
    )
    weights = {
        name: tensor for name, tensor in model.state_dict().items() if not _STAGE.match(name)
    }
    if config.tie_word_embeddings:
        del weights["lm_head.weight"]
    for number, layer in enumerate(_unrolled(model)):
        weights |= {f"model.layers.{number}.{name}": tensor for name, tensor in layer.items()}
    destination.mkdir(parents=True, exist_ok=True)
    # safetensors refuses two names for one tensor, so the copies of a shared layer are cloned.
    copies = {name: tensor.detach().cpu().clone() for name, tensor in weights.items()}
    save_file(copies, destination / "model.safetensors", metadata={"format": "pt"})
    llama.save_pretrained(destination)


def _refuse_what_llama_lacks(config: MoRConfig) -> None:
    if config.has_router:
        raise ValueError(
            f'router_type must be "none", got "{config.router_type}": a Llama gives every token the same depth; '
            "keep our checkpoint format for this model"
        )
    if config.num_experts > 1:
        raise ValueError(
            f"num_experts must be 1, got {config.num_experts}: a Llama has a single feed-forward per layer; "
            "keep our checkpoint format for this model"
        )
    if not all(call.writes_cache for call in layer_schedule(config)):
        raise ValueError(
            f'kv_strategy must be "recursion_wise", got "{config.kv_strategy}": a Llama\'s layers cannot read the '
            "keys of an earlier one; keep our checkpoint format for this model"
        )
    if config.hidden_size % config.num_attention_heads:
        raise ValueError(
            f"hidden_size must be a multiple of num_attention_heads={config.num_attention_heads}, "
            f"got {config.hidden_size}: Hugging Face's Llama requires it; keep our checkpoint format for this model"
        )


def _unrolled(model: MoRForCausalLM) -> list[dict[str, Tensor]]:
    """Return the weights of every layer call in order; a recursion's own parts replace the shared ones."""
    backbone = model.model
    stages = {"prelude": backbone.prelude, "shared": backbone.shared, "coda": backbone.coda}
    layers = []
    for call in layer_schedule(model.config):
        layer = dict(stages[call.stage][call.layer_idx].state_dict())
        if call.recursion_idx and len(backbone.recursion_parts):
            layer |= backbone.recursion_parts[call.recursion_idx - 1][call.layer_idx].state_dict()
        layers.append(layer)
    return layers


def _read_folder(folder: Path) -> tuple[LlamaConfig, dict[str, Tensor]]:
    """Read config and weights; a truncated file is refused before anything is allocated."""
    plain = read_json(folder / "config.json")
    if plain.get("model_type") != "llama":
        raise ValueError(
            f"{folder.name}/config.json must have model_type llama, got {plain.get('model_type')!r}; "
            "convert a Llama"
        )
    try:
        llama = LlamaConfig(**plain)
    except (StrictDataclassError, TypeError, ValueError) as error:
        raise ValueError(
            f"{folder.name}/config.json is not a valid Llama config: {error.__cause__ or error}"
        ) from error
    weights: dict[str, Tensor] = {}
    for file in weight_files(folder):
        check_weight_file(file)
        try:
            weights |= load_file(file)
        except SafetensorError as error:
            raise ValueError(f"{folder.name}/{file.name} cannot be read: {error}") from error
    return llama, weights


def _our_names(stored: Mapping[str, Tensor], config: MoRConfig) -> dict[str, Tensor]:
    """Return the weights with our layer names, without computed buffers and without a tied head."""
    ours: dict[str, Tensor] = {}
    for name, tensor in stored.items():
        layer = _LAYER.fullmatch(name)
        if name.endswith("rotary_emb.inv_freq"):  # written by releases before 2024
            continue
        ours[f"model.shared.{layer[1]}.{layer[2]}" if layer else name] = tensor
    head = ours.get("lm_head.weight")
    if config.tie_word_embeddings and head is not None:
        if not torch.equal(head, ours.get("model.embed_tokens.weight", head)):
            raise ValueError(
                "tie_word_embeddings must be false where lm_head.weight differs from model.embed_tokens.weight, "
                "got true; correct config.json"
            )
        del ours["lm_head.weight"]
    return ours
