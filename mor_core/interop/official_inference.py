"""Infers settings from an official checkpoint's weights: the kind of model, its recursions, its routers.

The weight keys of a routed model show most of them. A recursive model without a router has the keys of a vanilla one,
so its layers are compared.
"""

from collections.abc import Mapping
from typing import Any

import torch

from mor_core.common.json_checks import shorten
from mor_core.interop.official_weights import LAYER_PARTS, OfficialWeights, Tensors

MAX_LAYERS = 4096  # more is a damaged config.json, not a model
_TIED = tuple(name for name, part in LAYER_PARTS.items() if part == "feed-forward")


def infer_settings(weights: OfficialWeights, plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings by their official names; those that cannot be inferred are left out.

    Args:
        weights: of the model.
        plain: its config.json.

    Raises:
        ValueError: num_hidden_layers in config.json is invalid.
    """
    num_layers = plain.get("num_hidden_layers")
    if type(num_layers) is not int or not 1 <= num_layers <= MAX_LAYERS:
        raise ValueError(
            f"num_hidden_layers must be an integer from 1 to {MAX_LAYERS}, got {shorten(num_layers)}"
        )
    kv_sharing = plain.get("kv_sharing")
    kv_sharing = kv_sharing if isinstance(kv_sharing, dict) else {}
    inferred: dict[str, Any] = {
        "kv_sharing.enable": bool(kv_sharing.get("enable")),
        "kv_sharing.update_cache": bool(kv_sharing.get("update_cache")),
        "mor.enable": weights.kind != "plain",
    }
    if weights.kind != "plain":
        return inferred | _routed(weights)
    shared = {name: kv_sharing.get(name) for name in ("num_recursion", "sharing")}
    if kv_sharing.get("enable") and all(shared.values()):
        found = {"enable": True, **shared}
    else:
        found = _compared(weights, num_layers)
    return inferred | {f"recursive.{name}": value for name, value in found.items()}


def _routed(weights: OfficialWeights) -> dict[str, Any]:
    return {
        "recursive.enable": True,
        "recursive.num_recursion": weights.num_recursions,
        "recursive.sharing": "middle_cycle" if weights.is_middle else "cycle",
        "mor.type": weights.kind,
        "mor.rand_router": not weights.has_router_part("network"),
        "mor.expert.sampling": (
            "aux_router" if weights.has_router_part("aux_network") else "aux_loss"
        ),
        "mor.token.balancing": "loss_free" if weights.has_router_part("bias") else "loss",
    }


def _compared(weights: OfficialWeights, num_layers: int) -> dict[str, Any]:
    """Find the sharing strategy that matches which layers have equal feed-forwards, a part that is always shared."""
    kinds = _layer_kinds([weights.layers.get(number, {}) for number in range(num_layers)])
    distinct = len(set(kinds) - {None})
    if distinct == num_layers:
        return {"enable": False}
    found: dict[tuple[int, ...], tuple[str, int]] = {}
    for sharing in ("cycle", "sequence", "middle_cycle", "middle_sequence"):
        for recursions in range(2, num_layers + 1):
            unrolled = unrolled_layers(sharing, recursions, num_layers)
            if unrolled and _explains(unrolled, kinds, distinct):
                found.setdefault(unrolled, (sharing, recursions))
    if len(found) == 1:
        sharing, recursions = next(iter(found.values()))
        return {"enable": True, "num_recursion": recursions, "sharing": sharing}
    # If copies were left out of the file, several strategies may match; then the settings must decide.
    return {"enable": True} if None in kinds else {"enable": False}


def unrolled_layers(sharing: str, recursions: int, num_layers: int) -> tuple[int, ...]:
    """Return the index of the unique layer for every unrolled layer; empty if the layers do not divide evenly.

    Source: arXiv 2507.10524, Table 5.
    """
    ends = 2 if sharing.startswith("middle_") else 0
    block, left = divmod(num_layers - ends, recursions)
    if left or block < 1:
        return ()
    steps = range(recursions * block)
    inside = [step % block if sharing.endswith("cycle") else step // recursions for step in steps]
    return (0, *(1 + layer for layer in inside), 1 + block) if ends else tuple(inside)


def _layer_kinds(layers: list[Tensors]) -> list[int | None]:
    """Return for each layer the index of the first layer with an equal feed-forward; `None` if it is not stored."""
    kinds: list[int | None] = []
    for layer in layers:
        if not all(name in layer for name in _TIED):
            kinds.append(None)
            continue
        earlier = (
            number
            for number, kind in enumerate(kinds)
            if kind == number
            and all(torch.equal(layers[number][name], layer[name]) for name in _TIED)
        )
        kinds.append(next(earlier, len(kinds)))
    return kinds


def _explains(unrolled: tuple[int, ...], kinds: list[int | None], distinct: int) -> bool:
    """Whether two stored layers are equal exactly if the sharing strategy makes them one layer."""
    pairs = {(layer, kind) for layer, kind in zip(unrolled, kinds, strict=True) if kind is not None}
    stored = {layer for layer, _ in pairs}
    return len(pairs) == distinct and stored == set(unrolled) and len(stored) == distinct
