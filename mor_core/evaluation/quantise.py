"""8-bit weights with torchao, and their effect on size, speed, loss and the routers' decisions.

Source: torchao, https://github.com/pytorch/ao; an optional extra, installed by `pip install "mor-explorer[quantise]"`.
"""

import copy
import dataclasses
import itertools
import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mor_core.checkpoints.checkpoint import LoadedCheckpoint
from mor_core.evaluation.evaluation import evaluate
from mor_core.generation.timing_prompt import NEW_TOKENS, continue_timing_prompt, num_written
from mor_core.model.routing_rules import RoutingRule

_WARM_UPS, _REPEATS = 1, 5


def quantise(loaded: LoadedCheckpoint) -> LoadedCheckpoint:
    """Return a copy of the checkpoint with 8-bit weights in all linear layers, routers included.

    Matrix products are computed in float. A head that is tied to the embedding keeps its float weights, since the
    embedding needs them.

    Raises:
        ValueError: torchao is not installed, or the model is not on the CPU.
    """
    if loaded.model.device.type != "cpu":
        raise ValueError(
            f"8-bit weights need the CPU, got device {loaded.model.device}; use device cpu"
        )
    try:
        from torchao import quantization
    except ImportError as error:
        raise ValueError(
            'torchao is not installed; install it with: pip install "mor-explorer[quantise]"'
        ) from error
    model = copy.deepcopy(loaded.model)
    model.tie_weights()
    tied = model.lm_head if model.config.tie_word_embeddings else None

    def is_quantised(module: nn.Module, _name: str) -> bool:
        return isinstance(module, nn.Linear) and module is not tied

    quantization.quantize_(model, quantization.Int8WeightOnlyConfig(), is_quantised)
    return dataclasses.replace(loaded, model=model)


def weight_bytes(model: nn.Module) -> int:
    """Return the bytes of a model's weights in memory; tied weights count once."""
    tensors = {id(tensor): tensor for tensor in model.parameters()}
    return sum(_bytes(tensor) for tensor in tensors.values())


def compare(
    loaded: LoadedCheckpoint, quantised: LoadedCheckpoint, documents: Sequence[str]
) -> dict[str, Any]:
    """Measure both models on the same text and the same prompt, alternating between them.

    Returns:
        `weight_bytes`, `nll_nats_per_token`, `decode_tokens_per_s` (median of the repeats) and `spread` (lowest and
        highest speed), each for `float` and `int8`; `unchanged_depth_share`, the share of the `num_tokens` scored
        tokens with the same depth in both; and `conditions` of the measurement.
    """
    rule = RoutingRule.causal()
    pair = {"float": loaded, "int8": quantised}
    evaluations = {name: evaluate(model, documents, rule) for name, model in pair.items()}
    depths = [
        list(itertools.chain.from_iterable(result.token_depths)) for result in evaluations.values()
    ]
    same = sum(mine == theirs for mine, theirs in zip(*depths, strict=True))
    speeds: dict[str, list[float]] = {name: [] for name in pair}
    for repeat in range(_WARM_UPS + _REPEATS):
        for name, model in pair.items():
            speed = _decode_speed(model)
            if repeat >= _WARM_UPS:
                speeds[name].append(speed)
    return {
        "weight_bytes": {name: weight_bytes(model.model) for name, model in pair.items()},
        "nll_nats_per_token": {
            name: result.nll_nats_per_token for name, result in evaluations.items()
        },
        "unchanged_depth_share": same / len(depths[0]),
        "num_tokens": len(depths[0]),
        "decode_tokens_per_s": {name: statistics.median(values) for name, values in speeds.items()},
        "spread": {name: [min(values), max(values)] for name, values in speeds.items()},
        "conditions": {
            "device": "cpu",
            "threads": torch.get_num_threads(),
            "float_dtype": str(loaded.model.dtype).removeprefix("torch."),
            "batch": 1,
            "new_tokens": NEW_TOKENS,
            "warm_ups": _WARM_UPS,
            "repeats": _REPEATS,
        },
    }


def _decode_speed(loaded: LoadedCheckpoint) -> float:
    started = time.perf_counter()
    trace = continue_timing_prompt(loaded)
    return num_written(trace) / (time.perf_counter() - started)


def _bytes(tensor: Tensor) -> int:
    """Return the bytes of a tensor; for a quantised one, of its parts."""
    flatten = getattr(tensor, "__tensor_flatten__", None)
    if flatten is None:
        return tensor.nbytes
    names, _ = flatten()
    parts = [getattr(tensor, name) for name in names]
    return sum(part.nbytes for part in parts if part is not None)
