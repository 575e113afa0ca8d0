"""Reads folders that the official Mixture-of-Recursions code saved: plain config, key names, and the run's settings.

The official `config.json` holds no Mixture-of-Recursions settings; they stand in the run's
`conf.yaml`. Layers that recursions share are stored once per recursion, as equal copies.

Source: key patterns observed in the official code's output, with its attention-sharing fix of September 2026.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor

from mor_core.config import MoRConfig
from mor_core.model import MoRForCausalLM
from mor_core.schedule import layer_schedule


def load_official(folder: Path) -> MoRForCausalLM:
    """Load an official expert-choice, recursive or plain checkpoint as our model, in float32.

    Raises:
        ValueError: the settings are of a kind that we do not have, copies of shared layers differ, or keys are missing.
        FileNotFoundError: a file is missing.
    """
    plain = json.loads((folder / "config.json").read_text())
    settings = yaml.safe_load((folder / "conf.yaml").read_text())
    config = official_config(plain, settings)
    stored = _read_weights(folder)
    # The official recursive model without a router keeps a head of its own, whatever its config says.
    head = stored.get("lm_head.weight")
    if head is not None and not torch.equal(head, stored["model.embed_tokens.weight"]):
        config.tie_word_embeddings = False
    model = MoRForCausalLM(config)
    weights = _renamed(stored, config)
    missing, unexpected = model.load_state_dict(weights, strict=False)
    missing = [name for name in missing if name != "lm_head.weight"]
    if missing or unexpected:
        raise ValueError(
            f"{folder.name}: the weights do not fit the settings in conf.yaml; "
            f"missing {missing[:3]}, not expected {unexpected[:3]}"
        )
    model.tie_weights()
    return model.eval()


def official_config(plain: Mapping[str, Any], settings: Mapping[str, Any]) -> MoRConfig:
    """Translate the official plain config and run settings into ours.

    Raises:
        ValueError: token-choice routing or another setting that we do not have.
    """
    recursive, routing = settings["recursive"], settings["mor"]
    middle = recursive["sharing"].startswith("middle_")
    num_recursions = recursive["num_recursion"]
    shared_calls = plain["num_hidden_layers"] - 2 * middle
    block, left = divmod(shared_calls, num_recursions)
    if left:
        raise ValueError(
            f"num_hidden_layers must split into {num_recursions} recursions, got {plain['num_hidden_layers']}"
        )
    fields: dict[str, Any] = {
        "num_prelude_layers": int(middle),
        "num_coda_layers": int(middle),
        "num_layers_per_recursion": block,
        "num_recursions": num_recursions,
        "sharing": recursive["sharing"].removeprefix("middle_"),
        "kv_strategy": "shared" if settings["kv_sharing"]["enable"] else "recursion_wise",
        "rope_theta": plain["rope_theta"],
        "router_type": "none",
    }
    for name in (
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
        "bos_token_id",
        "eos_token_id",
    ):
        fields[name] = plain[name]
    if routing["enable"]:
        fields |= _expert_choice_fields(routing)
    return MoRConfig(**fields)


def _expert_choice_fields(routing: Mapping[str, Any]) -> dict[str, Any]:
    if routing["type"] != "expert":
        raise ValueError(f"mor.type must be expert, got {routing['type']!r}")
    expert = routing["expert"]
    return {
        "router_type": "expert_choice",
        "router_network": "linear" if routing["router_type"] == "linear" else "mlp",
        "router_activation": expert["router_func"] or "none",
        "router_alpha": expert["alpha"],
        "router_temperature": routing["temp"],
        "router_gating": expert["gating"],
        "router_supervision": expert["sampling"],
        "router_aux_loss_coef": expert["coeff"],
        "router_z_loss_coef": routing["z_coeff"] if routing["z_loss"] else 0.0,
        "capacity_factors": [float(part) for part in routing["capacity"].split(",")],
    }


def _read_weights(folder: Path) -> dict[str, Tensor]:
    safe = folder / "model.safetensors"
    if safe.exists():
        return load_file(safe)
    weights: dict[str, Tensor] = torch.load(
        folder / "pytorch_model.bin", map_location="cpu", weights_only=True
    )
    return weights


def _renamed(weights: Mapping[str, Tensor], config: MoRConfig) -> dict[str, Tensor]:
    """Give every tensor our name; copies of a shared layer must be equal and become one."""
    ours: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        target = _our_name(name, config)
        if target in ours and not torch.equal(ours[target], tensor):
            raise ValueError(
                f"{name} differs from another copy of {target}: this checkpoint's recursions do not share their "
                "weights (releases of July 2025 to September 2026 un-tied attention when training)"
            )
        ours[target] = tensor
    return ours


def _our_name(name: str, config: MoRConfig) -> str:
    """Translate one official key."""
    if not name.startswith("model.layers."):
        return name
    number, rest = re.fullmatch(r"model\.layers\.(\d+)\.(.+)", name).groups()  # type: ignore[union-attr]
    group = int(number)
    if not config.has_router:
        call = layer_schedule(config)[group]
        return f"model.{call.stage}.{call.layer_idx}.{rest}"
    recursion = group - config.num_prelude_layers
    if recursion < 0:
        return f"model.prelude.{group}.{rest}"
    if recursion >= config.num_recursions:
        return f"model.coda.{recursion - config.num_recursions}.{rest}"
    if rest.startswith("block."):
        return f"model.shared.{rest.removeprefix('block.')}"
    network = rest.replace("mor_router.router.", "network.")
    network = re.sub(r"^mlp_router\.(router\.)?", "aux_network.", network)
    return f"model.routers.{recursion}.{network}"
