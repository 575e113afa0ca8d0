"""Reads the weights of an official checkpoint and groups them by their keys, without using any settings.

Layers that recursions share are stored once per recursion, as equal copies. Copies that safetensors left out of a file
are restored from the file's metadata.

Source: key patterns observed in the official code's output.
"""

import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mor_core.checkpoints.checkpoint_files import (
    CheckpointError,
    check_finite,
    check_index,
    check_weight_file,
    weight_files,
)

Tensors = dict[str, Tensor]
Kind = Literal["plain", "expert", "token"]
RouterNetwork = Literal["linear", "mlp", "wide_mlp"]

LAYER_PARTS = {
    **{f"self_attn.{name}_proj.weight": "attention" for name in "qkvo"},
    **{f"mlp.{name}_proj.weight": "feed-forward" for name in ("gate", "up", "down")},
    "input_layernorm.weight": "norms",
    "post_attention_layernorm.weight": "norms",
}
"""The part of a layer that each of its weights belongs to."""
_OUTSIDE = ("model.embed_tokens.weight", "model.norm.weight", "lm_head.weight")
_PART = f"({'|'.join(map(re.escape, LAYER_PARTS))})"
_LAYER = re.compile(rf"model\.layers\.(\d+)\.{_PART}")
_EXPERT_COPY = re.compile(rf"model\.layers\.(\d+)\.block\.(\d+)\.{_PART}")
# With Cycle, the official code stores the single token-choice layer without a layer number.
_TOKEN_COPY = re.compile(rf"model\.layers\.(?:\d+\.)?block_list\.(\d+)\.(\d+)\.{_PART}")
_ROUTER = re.compile(r"model\.layers\.(?:(\d+)\.)?(mor|mlp)_router\.router\.((?:[02]\.)?weight)")
_BIAS = re.compile(r"model\.layers\.(?:\d+\.)?router_bias")
_COMPUTED = re.compile(r".*rotary_emb\.inv_freq")  # written by old releases of transformers


@dataclass
class OfficialWeights:
    """Tensors in float32, grouped by their place in the model.

    Attributes:
        kind: `plain` without a router (vanilla and recursive have the same keys), or the router's kind.
        stored_dtype: of the weights in the files; float32 if they differ.
        outside: embedding, final norm and head, by official key.
        layers: layers outside a routed block, by official number and then by the layer's part of the key.
        copies: layers of a routed block, by (recursion, layer of the block), 0-based.
        routers: by recursion (a single one for token-choice), and then by our names.
    """

    kind: Kind
    stored_dtype: torch.dtype
    outside: Tensors = field(default_factory=dict)
    layers: dict[int, Tensors] = field(default_factory=dict)
    copies: dict[tuple[int, int], Tensors] = field(default_factory=dict)
    routers: dict[int, Tensors] = field(default_factory=dict)

    @property
    def is_middle(self) -> bool:
        """Whether the model is routed and has a layer before the routed block (Middle-Cycle)."""
        return self.kind != "plain" and 0 in self.layers

    @property
    def num_recursions(self) -> int:
        """The number of recursions of the routed block."""
        if self.kind == "token":
            for name, tensor in self.routers.get(0, {}).items():
                if name in ("network.weight", "network.2.weight"):
                    return len(tensor)
        return 1 + max([*self.routers, *(recursion for recursion, _ in self.copies)])

    def has_router_part(self, name: str) -> bool:
        """Whether any router has a part: `network`, `aux_network` or `bias`."""
        return any(
            key.partition(".")[0] == name for router in self.routers.values() for key in router
        )

    def router_network(self, hidden_size: int) -> RouterNetwork:
        """Return the routers' network by its shape, since the official `wide_mlp` is as narrow as `mlp`.

        Raises:
            ValueError: the hidden layer has an unsupported width.
        """
        inner = [
            len(tensor)
            for router in self.routers.values()
            for name, tensor in router.items()
            if name.endswith("network.0.weight")
        ]
        if not inner:
            return "linear"
        known: dict[int, RouterNetwork] = {2 * hidden_size: "mlp", 4 * hidden_size: "wide_mlp"}
        if len(set(inner)) > 1 or inner[0] not in known:
            raise ValueError(
                f"routers with a hidden layer must be {' or '.join(map(str, known))} wide, got {sorted(set(inner))}"
            )
        return known[inner[0]]


def official_weight_files(folder: Path) -> list[Path]:
    """Return the weight files: safetensors if there are any, else PyTorch's (read with `weights_only`).

    Raises:
        CheckpointError: the folder has no weight file, or one is missing.
    """
    pickles = sorted(folder.glob("pytorch_model*.bin"))
    if any(folder.glob("model*.safetensors")) or not pickles:
        return weight_files(folder)
    check_index(folder / "pytorch_model.bin.index.json", pickles)
    return pickles


def read_official_weights(folder: Path) -> OfficialWeights:
    """Read every tensor and group them by their keys.

    Raises:
        CheckpointError: a file is missing or truncated, a pickle holds more than tensors, or a weight is not finite.
        ValueError: a key is unknown.
    """
    stored: Tensors = {}
    for file in official_weight_files(folder):
        stored |= _read_safetensors(file) if file.suffix == ".safetensors" else _read_pickle(file)
    check_finite(stored, folder.name)
    try:
        return group_weights(stored)
    except ValueError as error:
        raise ValueError(f"{folder.name}: {error}") from error


def group_weights(stored: Mapping[str, Tensor]) -> OfficialWeights:
    """Group tensors by their keys.

    Raises:
        ValueError: names the unknown keys.
    """
    kind: Kind = "plain"
    if any(_TOKEN_COPY.fullmatch(name) for name in stored):
        kind = "token"
    elif any(_EXPERT_COPY.fullmatch(name) for name in stored):
        kind = "expert"
    dtypes = {tensor.dtype for tensor in stored.values()}
    weights = OfficialWeights(kind, dtypes.pop() if len(dtypes) == 1 else torch.float32)
    # Recursion r of expert-choice is layer r, or r + 1 if an unshared first layer precedes the block.
    shift = any(name.startswith("model.layers.0.self_attn.") for name in stored)
    unknown = [
        name
        for name, tensor in stored.items()
        if not _COMPUTED.fullmatch(name)
        and not _place_tensor(weights, name, tensor.detach().float(), shift)
    ]
    if unknown:
        raise ValueError(
            f"{len(unknown)} keys of the weights are not known, got {', '.join(unknown[:5])}: adapters and encodings "
            "of single recursions (relaxation) are not supported, nor are keys of other programs"
        )
    return weights


def _place_tensor(weights: OfficialWeights, name: str, tensor: Tensor, shift: bool) -> bool:
    """Add one tensor to the group of its key; return False for an unknown key."""
    if name in _OUTSIDE:
        weights.outside[name] = tensor
    elif found := _LAYER.fullmatch(name):
        weights.layers.setdefault(int(found[1]), {})[found[2]] = tensor
    elif found := _EXPERT_COPY.fullmatch(name):
        place = (int(found[1]) - shift, int(found[2]))
        weights.copies.setdefault(place, {})[found[3]] = tensor
    elif found := _TOKEN_COPY.fullmatch(name):
        place = (int(found[1]), int(found[2]))
        weights.copies.setdefault(place, {})[found[3]] = tensor
    elif found := _ROUTER.fullmatch(name):
        recursion = int(found[1]) - shift if weights.kind == "expert" and found[1] else 0
        network = "network" if found[2] == "mor" else "aux_network"
        weights.routers.setdefault(recursion, {})[f"{network}.{found[3]}"] = tensor
    elif _BIAS.fullmatch(name):
        weights.routers.setdefault(0, {})["bias"] = tensor
    else:
        return False
    return True


def _read_safetensors(file: Path) -> Tensors:
    check_weight_file(file)
    try:
        with safe_open(file, framework="pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            left_out = opened.metadata() or {}
    except SafetensorError as error:
        raise CheckpointError(f"{file.parent.name}/{file.name} cannot be read: {error}") from error
    # safetensors' `save_model` stores a shared tensor under one name and lists the others in the metadata.
    copies = {name: tensors[kept] for name, kept in left_out.items() if kept in tensors}
    return copies | tensors


def _read_pickle(file: Path) -> Tensors:
    where = f"{file.parent.name}/{file.name}"
    try:
        tensors = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{where} must hold tensors alone: a pickle with anything else can run code and is not read"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{where} cannot be read, it is cut off or damaged: {error}"
        ) from error
    if not isinstance(tensors, dict) or not all(
        isinstance(tensor, Tensor) for tensor in tensors.values()
    ):
        raise CheckpointError(f"{where} must hold named tensors alone; save the model's state dict")
    return tensors
