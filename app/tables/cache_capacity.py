"""Counts the bytes of a KV cache and how much of it fits beside the weights, for each KV strategy.

Pure. The counts come from `mor_core.model.accounting` and the paper's shapes from `mor_core.model.paper`; both are
imported on first use because they need transformers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pandas as pd

from app.tables.cache_tables import recursion_counts
from app.tables.costs import PLAIN, active_counts, kv_strategies
from mor_core.traces.trace import Trace

if TYPE_CHECKING:
    from mor_core.model.config import MoRConfig
    from mor_core.model.paper import PaperName

MEASURED, COUNTED = "measured", "counted"
THIS_RUN = "this run"
SIZES = ("135M", "360M", "730M", "1.7B")
DTYPES = {"bfloat16": 2, "float32": 4}
MAX_CONTEXT = 2**30  # where the search for the largest context ends


@dataclass(frozen=True)
class Load:
    """The workload that a GPU is to serve.

    Attributes:
        size: one of `SIZES`.
        num_recursions: R of the Mixture-of-Recursions models.
        context: tokens per sequence.
        batch: number of sequences.
        bytes_per_number: bytes of one number in weights and cache.
        shares: share of tokens that take recursion 1, 2, ...; the same in every sequence.
    """

    size: "PaperName"
    num_recursions: int
    context: int
    batch: int
    bytes_per_number: int
    shares: tuple[float, ...]


def run_strategies(config: "MoRConfig", trace: Trace) -> pd.DataFrame:
    """Return the measured bytes of a run's cache, and the bytes of each strategy for the same depths.

    Returns:
        Columns `strategy`, `how` (measured or counted) and `kv_bytes`. A run that was split into windows had several
        caches and has no measured row.
    """
    from mor_core.model.accounting import kv_bytes, vanilla_kv_bytes

    rows = []
    if trace.steps and not trace.header.windows:
        rows.append((THIS_RUN, MEASURED, sum(trace.steps[-1].cache_bytes)))
    tokens = sum(token.recursion_depth is not None for token in trace.tokens)
    counts = recursion_counts(trace)
    number = bytes_per_number(trace)
    for strategy, variant in kv_strategies(config).items():
        rows.append((strategy, COUNTED, kv_bytes(variant, tokens, counts, number)))
    rows.append((PLAIN, COUNTED, vanilla_kv_bytes(config, tokens, number)))
    return pd.DataFrame(rows, columns=["strategy", "how", "kv_bytes"])


def bytes_per_number(trace: Trace) -> int:
    """Return the bytes of one number of a run's cache."""
    return DTYPES.get(trace.header.dtype, 2)


def paper_models(load: Load) -> dict[str, "MoRConfig"]:
    """Return the paper's models of one size: Mixture-of-Recursions with each KV strategy, and the plain Transformer."""
    from mor_core.model.paper import paper_config

    recursions = load.num_recursions
    return {
        "recursion-wise": paper_config(load.size, recursions, "expert_choice"),
        "shared keys": paper_config(load.size, recursions, "expert_choice", "shared"),
        PLAIN: paper_config(load.size),
    }


def paper_table(load: Load) -> pd.DataFrame:
    """Return one row per strategy: layers, and bytes of weights, of the cache (one sequence, batch), and in total."""
    from mor_core.model.accounting import parameter_count

    rows = []
    for strategy, config in paper_models(load).items():
        one = sequence_bytes(config, load.context, load)
        weights = parameter_count(config) * load.bytes_per_number
        rows.append(
            {
                "strategy": strategy,
                "unrolled_layers": config.num_hidden_layers,
                "weight_bytes": weights,
                "kv_bytes_per_sequence": one,
                "kv_bytes": one * load.batch,
                "total_bytes": weights + one * load.batch,
            }
        )
    return pd.DataFrame(rows)


def sequence_bytes(config: "MoRConfig", context: int, load: Load) -> int:
    """Count the cache of one sequence."""
    from mor_core.model.accounting import kv_bytes

    shares = load.shares if config.has_router else [1.0] * config.num_recursions
    return kv_bytes(config, context, active_counts(context, shares), load.bytes_per_number)


def fit_table(load: Load, memory_bytes: int) -> pd.DataFrame:
    """Return one row per strategy: the largest batch at the load's context, and the largest context at its batch.

    Args:
        load: the workload.
        memory_bytes: memory for weights and cache together.
    """
    from mor_core.model.accounting import parameter_count

    rows = []
    for strategy, config in paper_models(load).items():
        weights = parameter_count(config) * load.bytes_per_number
        rows.append(
            {
                "strategy": strategy,
                "weight_bytes": weights,
                "left_for_cache_bytes": max(0, memory_bytes - weights),
                "largest_batch": largest_batch(config, load, memory_bytes - weights),
                "largest_context": largest_context(config, load, memory_bytes - weights),
            }
        )
    return pd.DataFrame(rows)


def fit_curve(load: Load, memory_bytes: int, contexts: Sequence[int]) -> pd.DataFrame:
    """Return the largest batch for each context and strategy: columns `context`, `strategy`, `largest_batch`."""
    from mor_core.model.accounting import parameter_count

    rows = []
    for strategy, config in paper_models(load).items():
        left = memory_bytes - parameter_count(config) * load.bytes_per_number
        rows += [
            (context, strategy, largest_batch(config, replace(load, context=context), left))
            for context in contexts
        ]
    return pd.DataFrame(rows, columns=["context", "strategy", "largest_batch"])


def largest_batch(config: "MoRConfig", load: Load, left_bytes: int) -> int:
    """Return how many sequences of the load's context fit into `left_bytes`, the memory beside the weights."""
    return max(0, left_bytes) // sequence_bytes(config, load.context, load)


def largest_context(config: "MoRConfig", load: Load, left_bytes: int) -> int:
    """Return the longest context at which the load's batch fits, by bisection: bytes never decrease with length."""
    low, high = 0, 1
    while high < MAX_CONTEXT and sequence_bytes(config, high, load) * load.batch <= left_bytes:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        fits = sequence_bytes(config, middle, load) * load.batch <= left_bytes
        low, high = (middle, high) if fits else (low, middle)
    return low
