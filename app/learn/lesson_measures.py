"""What is counted and measured in the lessons' runs. Pure: traces in, numbers and positions out."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from app.learn import lessons
from mor_core.traces.token_class import PUNCTUATION, token_classes
from mor_core.traces.trace import Trace


@dataclass(frozen=True)
class Latency:
    """Measured generation, batch 1: what a token cost at each depth.

    Attributes:
        seconds: median of a decode step, at depth 1, 2, ...
        flops: mean of a decode step, likewise.
        counts: number of steps, likewise.
    """

    seconds: list[float]
    flops: list[float]
    counts: list[int]

    def saved(self, costs: Sequence[float]) -> float:
        """Return the share saved against all steps at the largest depth."""
        spent = sum(cost * count for cost, count in zip(costs, self.counts, strict=True))
        return 1 - spent / (costs[-1] * sum(self.counts))


def latency(traces: Sequence[Trace]) -> Latency:
    """Return what decode steps of recorded generations cost at each depth."""
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
    """Return the cache's bytes after a run as a share of a plain Transformer's of the same depth."""
    return sum(trace.steps[-1].cache_bytes) / trace.header.vanilla_kv_bytes


def applied_layers(trace: Trace, depth: int) -> int:
    """Return how many layers a token of a depth runs through."""
    config = trace.header.config
    shared = config["num_layers_per_recursion"] * depth
    return int(config["num_prelude_layers"] + shared + config["num_coda_layers"])


def punctuation(trace: Trace) -> set[int]:
    """Return the positions of punctuation marks."""
    tokens = lessons.content(trace)
    classes = zip(tokens, token_classes(tokens), strict=True)
    return {token.position for token, name in classes if name == PUNCTUATION}


def capacities(trace: Trace) -> list[float]:
    """Return the share of tokens that training lets into each pass."""
    recursions = trace.header.num_recursions
    given = trace.header.config["capacity_factors"]
    return given or [(recursions - place) / recursions for place in range(recursions)]
