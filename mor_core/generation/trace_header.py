"""The header of a trace: the model and the settings of a run, known before it begins."""

import functools
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Literal

import torch

from mor_core.checkpoints.checkpoint import LoadedCheckpoint
from mor_core.model.accounting import kv_bytes_per_entry
from mor_core.model.config import MoRConfig
from mor_core.model.layer_schedule import layer_schedule
from mor_core.model.routing_rules import RoutingRule
from mor_core.traces.trace import CacheSlot, TraceHeader

_PACKAGES = ("torch", "transformers", "mor-explorer")


def trace_header(
    loaded: LoadedCheckpoint,
    kind: Literal["generate", "analyse"],
    rule: RoutingRule,
    sampling: dict[str, Any],
) -> TraceHeader:
    """Describe a run that is about to begin; its totals are 0."""
    model, config = loaded.model, loaded.model.config
    device = model.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return TraceHeader(
        kind=kind,
        checkpoint=loaded.info.name,
        checkpoint_sha256=loaded.info.sha256,
        config=loaded.info.config,
        router=config.router.traits(vars(config)),
        num_recursions=config.num_recursions,
        routing=rule.describe(config),
        kv_strategy=config.kv_strategy,
        cache_slots=describe_slots(config),
        kv_bytes_per_entry=kv_bytes_per_entry(config, model.dtype.itemsize),
        full_depth_flops=0,
        vanilla_kv_bytes=0,
        sampling=sampling,
        device=name,
        dtype=str(model.dtype).removeprefix("torch."),
        versions=package_versions(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        note=_experiment(loaded),
    )


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that compute a run."""
    return dict(_versions())


@functools.cache  # reading versions opens files
def _versions() -> tuple[tuple[str, str], ...]:
    return tuple((package, version(package)) for package in _PACKAGES)


def _experiment(loaded: LoadedCheckpoint) -> str:
    config = loaded.model.config
    changes = [
        (f"{config.num_recursions} recursions", loaded.trained_recursions),
        (f"kv_strategy {config.kv_strategy}", loaded.trained_kv_strategy),
    ]
    parts = [
        f"{now}, where the model was trained with {trained}"
        for now, trained in changes
        if trained is not None
    ]
    return f"An experiment: {'; '.join(parts)}." if parts else ""


def describe_slots(config: MoRConfig) -> list[CacheSlot]:
    """Describe every cache slot, in order."""
    slots: dict[int, CacheSlot] = {}
    for call in layer_schedule(config):
        layer = call.layer_idx + 1
        if call.stage != "shared":
            label, recursion = f"{call.stage.capitalize()} {layer}", None
        elif config.kv_strategy == "shared":
            label, recursion = f"Shared L{layer}", 1
        else:
            recursion = (call.recursion_idx or 0) + 1
            label = f"R{recursion} L{layer}"
        slots.setdefault(call.cache_slot, CacheSlot(call.stage, recursion, layer, label))
    return [slots[number] for number in sorted(slots)]
