"""Saves one of our models in the format of the official code: its keys, files and settings.

The inverse of `mor_core.interop.official`. The recorded cases in fixtures/ check both against files that the official
code wrote.
"""

import json

import torch
import yaml
from safetensors.torch import save_file

from mor_core.model.layer_schedule import layer_schedule

SHARED_NAMES = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "num_key_value_heads",
    "max_position_embeddings",
    "rms_norm_eps",
    "initializer_range",
    "tie_word_embeddings",
    "bos_token_id",
    "eos_token_id",
)


def export_official(model, folder, *, file="pytorch_model.bin", conf=True, drop=()):
    """Write config.json, weights and conf.yaml; keys in `drop` are left out, as Safetensors does with copies."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {key: tensor.clone() for key, tensor in official_weights(model).items()}
    save_weights(folder, {key: weights[key] for key in weights if key not in drop}, file)
    (folder / "config.json").write_text(json.dumps(official_plain_config(model.config)))
    if conf:
        (folder / "conf.yaml").write_text(yaml.safe_dump(official_settings(model.config)))
    return folder


def save_weights(folder, weights, file):
    """Write one file, or two files with an index if the name has a shard number."""
    write = save_file if file.endswith(".safetensors") else torch.save
    if "-0000" not in file:
        write(weights, folder / file)
        return
    keys = sorted(weights)
    halves = {file: keys[::2], file.replace("-00001-", "-00002-"): keys[1::2]}
    for name, half in halves.items():
        write({key: weights[key] for key in half}, folder / name)
    index = file.replace("-00001-of-00002", "") + ".index.json"
    places = {key: name for name, half in halves.items() for key in half}
    (folder / index).write_text(json.dumps({"weight_map": places}))


def official_weights(model):
    """Return our weights under the official keys, with a copy of a shared layer for every use."""
    config, backbone = model.config, model.model
    weights = {
        "model.embed_tokens.weight": backbone.embed_tokens.weight,
        "model.norm.weight": backbone.norm.weight,
        "lm_head.weight": model.lm_head.weight,
    }
    middle = config.num_prelude_layers
    for number, call in enumerate(layer_schedule(config)):
        layer = dict(getattr(backbone, call.stage)[call.layer_idx].state_dict())
        if call.recursion_idx and config.recursion_specific:
            layer |= backbone.recursion_parts[call.recursion_idx - 1][call.layer_idx].state_dict()
        group = official_group(config, number, call)
        weights |= {f"model.layers.{group}.{name}": tensor for name, tensor in layer.items()}
    for recursion, router in enumerate(backbone.routers):
        prefix = f"model.layers.{middle + recursion}"
        if config.router_type == "token_choice" and not middle:
            prefix = "model.layers"
        for name, tensor in router.state_dict().items():
            weights |= official_router_weight(config, prefix, name, tensor)
    return {key: tensor.detach() for key, tensor in weights.items()}


def official_group(config, number, call):
    """Return the part of a key after `model.layers.` for one layer call."""
    middle = config.num_prelude_layers
    if not config.has_router or call.stage == "prelude":
        return number
    if config.router_type == "expert_choice":
        if call.stage == "coda":
            return config.num_recursions + 1
        return f"{call.recursion_idx + middle}.block.{call.layer_idx}"
    if call.stage == "coda":
        return 2
    copy = f"block_list.{call.recursion_idx}.{call.layer_idx}"
    return f"1.{copy}" if middle else copy


def official_router_weight(config, prefix, name, tensor):
    if name == "bias":
        return {f"{prefix}.router_bias": tensor}
    network, rest = name.split(".", 1)
    if network == "network":
        is_random = config.router_control == "random_scores"
        return {} if is_random else {f"{prefix}.mor_router.router.{rest}": tensor}
    # The official auxiliary router does not divide by the temperature.
    scale = config.router_temperature if rest in ("weight", "0.weight") else 1.0
    return {f"{prefix}.mlp_router.router.{rest}": tensor / scale}


def official_plain_config(config):
    plain = {name: getattr(config, name) for name in SHARED_NAMES}
    plain |= {
        "model_type": "llama",
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "head_dim": config.attention_head_dim,
        "num_hidden_layers": config.num_hidden_layers,
        "rope_theta": config.rope_theta,
        "rope_scaling": None,
    }
    if config.kv_strategy != "recursion_wise":
        sharing = official_settings(config)["recursive"]["sharing"]
        plain["kv_sharing"] = {
            "enable": True,
            "base_depth": config.num_layers_per_recursion,
            "num_recursion": config.num_recursions,
            "sharing": sharing,
        }
        if config.has_router:
            plain["kv_sharing"]["update_cache"] = config.kv_strategy == "shared_updated"
    return plain


def official_settings(config):
    """Return the run's conf.yaml; like official files, it also has the settings of the unused router type."""
    expert = config.router_type == "expert_choice"
    activation = None if config.router_activation == "none" else config.router_activation
    middle = "middle_" if config.num_prelude_layers else ""
    capacity = config.capacity_factors
    return {
        "precision": "fp32",
        "learning_rate": "3e-3",
        "recursive": {
            "enable": config.num_recursions > 1,
            "base_depth": None,
            "num_recursion": config.num_recursions if config.num_recursions > 1 else 2,
            "sharing": middle + config.sharing,
            "ln_share": "norms" not in config.recursion_specific,
        },
        "kv_sharing": {
            "enable": config.kv_strategy != "recursion_wise",
            "num_recursion": None,
            "sharing": None,
            "update_cache": config.kv_strategy == "shared_updated",
        },
        "relaxation": {"enable": False, "method": "lora", "lora": {"alpha": 32}},
        "mor": {
            "enable": config.has_router,
            "type": "expert" if expert else "token",
            "capacity": None if capacity is None else ",".join(map(str, capacity)),
            "rand_router": config.router_control == "random_scores",
            "router_type": config.router_network,
            "z_loss": config.router_z_loss_coef > 0,
            "z_coeff": config.router_z_loss_coef or 1e-3,
            "temp": config.router_temperature,
            "expert": {
                "cap_warmup_step": 0,
                "router_func": activation if expert else "sigmoid",
                "alpha": config.router_alpha if expert else 0.1,
                "sampling": config.router_supervision,
                "include_first": True,
                "coeff": config.router_aux_loss_coef,
                "gating": config.router_gating if expert else "weighted",
            },
            "token": {
                "bal_warmup_step": 0,
                "router_func": "softmax" if expert else config.router_activation,
                "alpha": 1.0 if expert else config.router_alpha,
                "balancing": config.router_balancing,
                "coeff": config.router_balancing_loss_coef,
                "u": config.router_bias_update_rate,
                "gating": "weighted" if expert else config.router_gating,
            },
        },
    }
