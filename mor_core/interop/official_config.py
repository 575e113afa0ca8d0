"""Translates the settings of an official run into our configuration; unsupported settings are refused with a reason."""

from typing import Any

from mor_core.interop.official_settings import OfficialSettings
from mor_core.interop.official_weights import RouterNetwork
from mor_core.model.config import MoRConfig
from mor_core.model.layer_schedule import layers_per_recursion

_SHARINGS = ("cycle", "sequence", "middle_cycle", "middle_sequence")


def official_config(
    base: MoRConfig, settings: OfficialSettings, router_network: RouterNetwork
) -> MoRConfig:
    """Return the configuration of an official model whose recursions share all parts.

    Args:
        base: the configuration of the unrolled layers as one recursion.
        settings: of the run.
        router_network: as found in the weights, since the setting's name does not determine the shape.

    Raises:
        ValueError: a setting is missing, invalid or unsupported.
    """
    if settings.is_on("relaxation.enable"):
        raise ValueError(
            "relaxation.enable must be false, got true: adapters and encodings of single recursions are not supported"
        )
    routed = settings.is_on("mor.enable")
    if not routed and not settings.is_on("recursive.enable"):
        if settings.is_on("kv_sharing.enable"):
            raise ValueError(
                "kv_sharing.enable must be false if recursive.enable is false, got true: our models do not share keys "
                "between layers with different weights"
            )
        return base
    settings.require(["recursive.num_recursion", "recursive.sharing"])
    recursions, sharing = settings["recursive.num_recursion"], settings["recursive.sharing"]
    if type(recursions) is not int or sharing not in _SHARINGS:
        raise ValueError(
            f"recursive.num_recursion must be a count and recursive.sharing one of {', '.join(_SHARINGS)}, "
            f"got {recursions!r} and {sharing!r}"
        )
    if (
        recursions == 1 and not routed
    ):  # a special mode of the official code: a plain, shallower model
        return base
    middle = sharing.startswith("middle_")
    fields: dict[str, Any] = {
        "num_prelude_layers": int(middle),
        "num_coda_layers": int(middle),
        "num_layers_per_recursion": layers_per_recursion(
            base.num_layers_per_recursion, recursions, middle
        ),
        "num_recursions": recursions,
        "sharing": sharing.removeprefix("middle_"),
        "kv_strategy": _kv_strategy(settings, sharing),
    }
    if routed:
        fields |= {"router_network": router_network, **_router_fields(settings)}
    return base.replaced(**fields)


def _kv_strategy(settings: OfficialSettings, sharing: str) -> str:
    if not settings.is_on("kv_sharing.enable"):
        return "recursion_wise"
    updates = settings.is_on("kv_sharing.update_cache") and settings.is_on("mor.enable")
    # The official cache respects update_cache with Middle-Cycle only.
    return "shared_updated" if updates and sharing == "middle_cycle" else "shared"


def _router_fields(settings: OfficialSettings) -> dict[str, Any]:
    settings.require(["mor.type"])
    kind = settings["mor.type"]
    if kind not in ("expert", "token"):
        raise ValueError(f"mor.type must be expert or token, got {kind!r}")
    if settings.is_on("mor.rand_router"):
        return _random_routing_fields(settings, kind)
    settings.require(_needed(settings, kind))
    has_z_loss = settings.is_on("mor.z_loss")
    fields = {
        "router_temperature": settings.number("mor.temp"),
        "router_gating": settings[f"mor.{kind}.gating"],
        "router_z_loss_coef": settings.number("mor.z_coeff") if has_z_loss else 0.0,
    }
    return fields | (_expert_fields(settings) if kind == "expert" else _token_fields(settings))


def _needed(settings: OfficialSettings, kind: str) -> list[str]:
    """Return the names of the settings that a model with a router needs."""
    names = ["mor.temp", "mor.z_loss"]
    if settings.is_on("mor.z_loss"):
        names.append("mor.z_coeff")
    if kind == "expert":
        names += ["mor.capacity", "mor.expert.router_func", "mor.expert.gating"]
        if not _lacks_activation(settings):
            names.append("mor.expert.alpha")
        names.append("mor.expert.sampling")
        if "mor.expert.sampling" in settings and settings["mor.expert.sampling"] == "aux_loss":
            names.append("mor.expert.coeff")
        return names
    names += ["mor.token.router_func", "mor.token.alpha", "mor.token.gating", "mor.token.balancing"]
    if "mor.token.balancing" in settings:
        names.append(
            "mor.token.u" if settings["mor.token.balancing"] == "loss_free" else "mor.token.coeff"
        )
    return names


def _lacks_activation(settings: OfficialSettings) -> bool:
    name = "mor.expert.router_func"
    return name in settings and settings[name] in (None, "null")


def _expert_fields(settings: OfficialSettings) -> dict[str, Any]:
    sampling = settings["mor.expert.sampling"]
    if sampling not in ("aux_loss", "aux_router", None):
        raise ValueError(
            f"mor.expert.sampling must be aux_loss, aux_router or null, got {sampling!r}"
        )
    fields: dict[str, Any] = {
        "router_type": "expert_choice",
        "router_activation": "none",
        "router_supervision": sampling or "aux_loss",
        "capacity_factors": _capacities(settings),
    }
    if sampling != "aux_router":
        coefficient = 0.0 if sampling is None else settings.number("mor.expert.coeff")
        fields["router_aux_loss_coef"] = coefficient
    # Without an activation the official code does not use alpha.
    if not _lacks_activation(settings):
        fields["router_activation"] = settings["mor.expert.router_func"]
        fields["router_alpha"] = settings.number("mor.expert.alpha")
    return fields


def _token_fields(settings: OfficialSettings) -> dict[str, Any]:
    balancing = settings["mor.token.balancing"]
    fields: dict[str, Any] = {
        "router_type": "token_choice",
        "router_activation": settings["mor.token.router_func"] or "softmax",
        "router_alpha": settings.number("mor.token.alpha"),
        "router_balancing": balancing,
    }
    if balancing == "loss_free":
        fields["router_bias_update_rate"] = settings.number("mor.token.u")
    else:
        fields["router_balancing_loss_coef"] = settings.number("mor.token.coeff")
    return fields


def _random_routing_fields(settings: OfficialSettings, kind: str) -> dict[str, Any]:
    """Return the fields of the random-routing control, whose official model has no router."""
    if kind == "token":
        raise ValueError(
            "mor.rand_router must be false for mor.type token, got true: the official code also draws random gates "
            "there, which our models do not support"
        )
    settings.require(
        ["mor.capacity", "mor.expert.alpha", "mor.expert.gating", "mor.expert.sampling"]
    )
    has_aux_router = settings["mor.expert.sampling"] == "aux_router"
    return {
        "router_type": "expert_choice",
        "router_control": "random_scores",
        "router_alpha": settings.number("mor.expert.alpha"),
        "router_gating": settings["mor.expert.gating"],
        "router_supervision": "aux_router" if has_aux_router else "aux_loss",
        "capacity_factors": _capacities(settings),
    }


def _capacities(settings: OfficialSettings) -> list[float] | None:
    """Parse capacities such as "1.0,0.5"; null means (N - r + 1) / N at recursion r."""
    given = settings["mor.capacity"]
    if given is None:
        return None
    parts = given if isinstance(given, list) else str(given).split(",")
    try:
        return [float(part) for part in parts]
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"mor.capacity must be capacities separated by commas, such as 1.0,0.5, got {given!r}"
        ) from error
