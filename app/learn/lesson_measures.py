"""Counts and measurements from the lessons' runs. Pure: traces in, numbers and positions out."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from app.learn import lessons
from mor_core.traces.token_class import PUNCTUATION, token_classes
from mor_core.traces.trace import Trace


@dataclass(frozen=True)
class Latency:
    """Cost of a generated token at each depth, at batch size 1.

    Attributes:
        seconds: median seconds of a decode step at depth 1, 2, ...
        flops: mean FLOPs of a decode step at depth 1, 2, ...
        counts: number of decode steps at depth 1, 2, ...
    """

    seconds: list[float]
    flops: list[float]
    counts: list[int]

    def saved(self, costs: Sequence[float]) -> float:
        """Return the share of the cost saved, compared with all steps at full depth."""
        spent = sum(cost * count for cost, count in zip(costs, self.counts, strict=True))
        return 1 - spent / (costs[-1] * sum(self.counts))


def latency(traces: Sequence[Trace]) -> Latency:
    """Return the cost of decode steps at each depth in recorded generations."""
    recursions = traces[0].header.num_recursions
    seconds: list[list[float]] = [[] for _ in range(recursions)]
    flops: list[list[int]] = [[] for _ in range(recursions)]
    for trace in traces:
        for step in trace.steps:
            depth = trace.tokens[step.first_position].recursion_depth
            if step.phase == "decode" and depth:
                seconds[depth - 1].append(step.latency_s)
                flops[depth - 1].append(step.active_flops)
    return Latency(
        [median(found) for found in seconds],
        [sum(found) / len(found) for found in flops],
        [len(found) for found in seconds],
    )


def kept_share(trace: Trace) -> float:
    """Return the bytes of a run's cache as a share of a plain Transformer's with the same unrolled depth."""
    return sum(trace.steps[-1].cache_bytes) / trace.header.vanilla_kv_bytes


def applied_layers(trace: Trace, depth: int) -> int:
    """Return the number of layers applied to a token of a depth."""
    config = trace.header.config
    shared = config["num_layers_per_recursion"] * depth
    return int(config["num_prelude_layers"] + shared + config["num_coda_layers"])


def punctuation(trace: Trace) -> set[int]:
    """Return the positions of punctuation marks."""
    tokens = lessons.content(trace)
    classes = zip(tokens, token_classes(tokens), strict=True)
    return {token.position for token, name in classes if name == PUNCTUATION}


def capacities(trace: Trace) -> list[float]:
    """Return each recursion's capacity in training, as a share of tokens."""
    recursions = trace.header.num_recursions
    factors = trace.header.config["capacity_factors"]
    return factors or [(recursions - index) / recursions for index in range(recursions)]
