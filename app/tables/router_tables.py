"""Tables of a run's router scores, and of the decisions that another threshold would flip.

Pure: nothing here runs the model again. A deeper recursion scored only the tokens that reached it, so the effect of
another threshold is known for those tokens only.
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
class MovedThreshold:
    """The effect of another threshold on the candidates of one recursion.

    Attributes:
        threshold_logit: the other threshold.
        rows: of `score_table`, with the column `change`, one of `CHANGES`.
        share_before: share of the candidates that entered.
        share_after: share of the candidates at or above the other threshold.
    """

    threshold_logit: float
    rows: pd.DataFrame
    share_before: float
    share_after: float

    def count(self, change: str) -> int:
        """Return how many candidates have this change."""
        return int((self.rows["change"] == change).sum())


def score_table(traces: Sequence[Trace]) -> pd.DataFrame:
    """Return one row for each content token and each recursion for which a router scored it.

    `score` is the sigmoid of the logit, which the causal rule compares with its threshold; `threshold_logit` is empty
    where no threshold decided. With token-choice, `recursion` is a depth, `score` is the router's score of that depth,
    and `entered` says whether the token took it.
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
                candidate = (run, token.position, label(token), index + 1)
                rows.append((*candidate, logit, score, limits[index], entered))
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.astype({"threshold_logit": "float64", "entered": "bool"})


def deciding_recursions(header: TraceHeader) -> list[int]:
    """Return the recursions at which a threshold decides."""
    return [
        number
        for number, limit in enumerate(threshold_logits(header), start=1)
        if limit is not None
    ]


def move_threshold(rows: pd.DataFrame, threshold_logit: float) -> MovedThreshold:
    """Apply another threshold to the candidates of one recursion.

    Args:
        rows: at least one row of `score_table`, all of one recursion.
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
    return MovedThreshold(threshold_logit, rows.assign(change=changes), share_before, share_after)


def threshold_for_share(logits: Sequence[float], share: float) -> float:
    """Return the threshold logit at which the given share of candidates enters, rounded to whole candidates.

    It is the midpoint between the last candidate that enters and the first that does not. At shares 0 and 1 it lies
    beyond all candidates.
    """
    ordered = sorted(logits, reverse=True)
    count = round(len(ordered) * share)
    if count <= 0:
        return ordered[0] + 1
    if count >= len(ordered):
        return ordered[-1] - 1
    return (ordered[count - 1] + ordered[count]) / 2


def close_calls(rows: pd.DataFrame, within: float = 1.0) -> int:
    """Count the decisions that a threshold shifted by less than `within` logits could flip."""
    return int(((rows["logit"] - rows["threshold_logit"]).abs() < within).sum())


def router_facts(config: Mapping[str, Any]) -> dict[str, Any]:
    """Describe a model's routers from its `config.json`, without importing the model's code.

    Keys: `chooses_once` and `has_top_k` as in `RouterTraits`, `network`, `shape` (widths from input to output),
    `weights` (number in all routers), `routers` (number of networks), `activation`, `alpha`, `temperature`,
    `supervision`, `balancing`, `control`.
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
    """Return each recursion's capacity in training, a share of the sequence, as `MoRConfig.capacity_schedule` does."""
    factors = config.get("capacity_factors")
    recursions = int(config["num_recursions"])
    if factors is not None:
        return [float(factor) for factor in factors]
    return [(recursions - index) / recursions for index in range(recursions)]
