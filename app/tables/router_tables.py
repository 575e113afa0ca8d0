"""What the routers of a run said of each token, and what another threshold would make of it.

Pure tables. A deeper recursion judged only the tokens that got there, so what a threshold changes is known there alone:
nothing here runs the model again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from app.tables.trace_tables import label
from mor_core.common.logistic import sigmoid
from mor_core.model.router_types import ROUTER_TYPES
from mor_core.traces.thresholds import threshold_logits
from mor_core.traces.trace import Trace, TraceHeader

STAYS_IN, STAYS_OUT, WOULD_ENTER, WOULD_LEAVE = CHANGES = (
    "stays in",
    "stays out",
    "would enter",
    "would leave",
)
COLUMNS = ["run", "position", "token", "recursion", "logit", "score", "threshold_logit", "entered"]


@dataclass(frozen=True)
class Moved:
    """A threshold that was moved, over the candidates of one recursion.

    Attributes:
        threshold_logit: where to.
        rows: of `judgements`, with the column `change`, one of `CHANGES`.
        share_before: of the candidates that entered.
        share_after: of those at or above the moved threshold.
    """

    threshold_logit: float
    rows: pd.DataFrame
    share_before: float
    share_after: float

    def count(self, change: str) -> int:
        """Return how many candidates have this change."""
        return int((self.rows["change"] == change).sum())


def judgements(traces: Sequence[Trace]) -> pd.DataFrame:
    """Return one row for each content token and each recursion that a router judged it for.

    `score` is the sigmoid of the logit, which the causal rule compares, and `threshold_logit` is empty where no
    threshold decided. With token-choice `recursion` is a depth, `score` what its router gave that depth, and `entered`
    whether the token took it.
    """
    rows = []
    for run, trace in enumerate(traces):
        limits = threshold_logits(trace.header)
        chooses_depth = trace.header.router.chooses_once
        for token in trace.tokens:
            depth = token.recursion_depth
            if token.special or depth is None:
                continue
            for index, logit in enumerate(token.router_logits):
                if logit is None:
                    continue
                score = token.router_scores[index] if chooses_depth else sigmoid(logit)
                entered = depth == index + 1 if chooses_depth else depth > index
                place = (run, token.position, label(token), index + 1)
                rows.append((*place, logit, score, limits[index], entered))
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.astype({"threshold_logit": "float64", "entered": "bool"})


def deciding_recursions(header: TraceHeader) -> list[int]:
    """Return the recursions that a threshold decides."""
    return [
        number
        for number, limit in enumerate(threshold_logits(header), start=1)
        if limit is not None
    ]


def move_threshold(rows: pd.DataFrame, threshold_logit: float) -> Moved:
    """Judge the candidates of one recursion by another threshold.

    Args:
        rows: of `judgements`, of one recursion; at least one.
        threshold_logit: a candidate enters at or above it.
    """
    would = rows["logit"] >= threshold_logit
    names = {
        (True, True): STAYS_IN,
        (False, False): STAYS_OUT,
        (False, True): WOULD_ENTER,
        (True, False): WOULD_LEAVE,
    }
    changes = [names[bool(was), bool(is_)] for was, is_ in zip(rows["entered"], would, strict=True)]
    share_before, share_after = float(rows["entered"].mean()), float(would.mean())
    return Moved(threshold_logit, rows.assign(change=changes), share_before, share_after)


def threshold_for_share(logits: Sequence[float], share: float) -> float:
    """Return the logit at which the given share of candidates enters, rounded to whole candidates.

    It lies in the middle between the last that enters and the first that does not, beyond all of them at 0 and 1.
    """
    ordered = sorted(logits, reverse=True)
    count = round(len(ordered) * share)
    if count <= 0:
        return ordered[0] + 1
    if count >= len(ordered):
        return ordered[-1] - 1
    return (ordered[count - 1] + ordered[count]) / 2


def close_calls(rows: pd.DataFrame, within: float = 1.0) -> int:
    """Count the decisions that another threshold within one logit would have turned."""
    return int(((rows["logit"] - rows["threshold_logit"]).abs() < within).sum())


def router_facts(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a model's routers are, from its `config.json`; without importing the model's code.

    Keys: `chooses_once` and `has_top_k` as in `RouterTraits`, `network`, `shape` (widths from input to output),
    `weights` (of all routers), `routers` (how many networks), `activation`, `alpha`, `temperature`, `supervision`,
    `balancing`, `control`.
    """
    kind = ROUTER_TYPES[config["router_type"]]
    routers = kind.num_routers(config)
    return {
        "chooses_once": kind.chooses_once,
        "has_top_k": kind.has_top_k,
        "network": config["router_network"],
        "shape": kind.shape(config),
        "routers": routers * kind.num_networks(config),
        "weights": routers * kind.num_weights(config),
        **{
            name: config.get(f"router_{name}")
            for name in (
                "activation",
                "alpha",
                "temperature",
                "supervision",
                "balancing",
                "control",
            )
        },
    }


def capacity_shares(config: Mapping[str, Any]) -> list[float]:
    """Return the share of a sequence that each recursion takes in training, as `MoRConfig.capacity_schedule` does."""
    factors = config.get("capacity_factors")
    recursions = int(config["num_recursions"])
    if factors is not None:
        return [float(factor) for factor in factors]
    return [(recursions - index) / recursions for index in range(recursions)]
