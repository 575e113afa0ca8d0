"""One scale for the computation per token in two runs, so that equal colours and digits mean equal computation.

Models with the same layers are compared in recursions, other models in applied layers. Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from app.style.theme import NO_DEPTH, depth_colours

_SHAPE = ("num_prelude_layers", "num_coda_layers", "num_layers_per_recursion", "num_recursions")


@dataclass(frozen=True)
class Scale:
    """Maps the recursion depths of two runs to a common unit.

    Attributes:
        unit: the common unit.
        values: for each run, the value of depth 0, 1, ... R.
        colours: a colour for each value that either model can take, in ascending order.
    """

    unit: Literal["recursions", "layers"]
    values: tuple[tuple[int, ...], tuple[int, ...]]
    colours: dict[int, str]

    @property
    def span(self) -> int:
        """The largest possible difference."""
        return max(self.colours) - min(self.colours)


def shared_scale(first: Mapping[str, Any], second: Mapping[str, Any]) -> Scale:
    """Return the scale on which two models can be compared.

    Args:
        first: the first model's configuration, as in its `config.json` or a trace's header.
        second: the second model's.
    """
    configs = (first, second)
    shapes = [_shape(config) for config in configs]
    skips = [_can_skip_all(config) for config in configs]
    recursions = [_number(config.get("num_recursions")) or 1 for config in configs]
    if shapes[0] is None or shapes[1] is None or shapes[0] == shapes[1]:
        values = [tuple(range(count + 1)) for count in recursions]
        return Scale("recursions", (values[0], values[1]), _colours(values, skips))
    layers = [
        tuple(prelude + coda + block * depth for depth in range(count + 1))
        for prelude, coda, block, count in (shapes[0], shapes[1])
    ]
    return Scale("layers", (layers[0], layers[1]), _colours(layers, skips))


def _colours(values: list[tuple[int, ...]], skips: list[bool]) -> dict[int, str]:
    """Return the colours of depths for all values from one recursion on, and grey for tokens without a recursion."""
    levels = sorted({value for run in values for value in run[1:]})
    colours = dict(zip(levels, depth_colours(len(levels)), strict=True))
    skipped = {run[0]: NO_DEPTH for run, skip in zip(values, skips, strict=True) if skip}
    return dict(sorted((skipped | colours).items()))


def _can_skip_all(config: Mapping[str, Any]) -> bool:
    """Whether a token may take no recursion at all: the first capacity is below 1."""
    factors = config.get("capacity_factors")
    return isinstance(factors, list) and bool(factors) and factors[0] < 1


def _shape(config: Mapping[str, Any]) -> tuple[int, int, int, int] | None:
    numbers = [_number(config.get(name)) for name in _SHAPE]
    if any(number is None for number in numbers):
        return None
    prelude, coda, block, count = (number or 0 for number in numbers)
    return prelude, coda, block, count


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
