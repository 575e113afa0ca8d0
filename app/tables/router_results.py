"""Tables of a checkpoint's routers from its evaluation: threshold sweep, agreement, entropy, load, reach.

Imports neither Streamlit nor torch. A figure that an evaluation lacks gives an empty table.
"""

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from app.tables.family_results import points_table
from app.tables.result_files import ResultError, damaged
from app.tables.router_tables import capacity_shares
from mor_core.model.router_types import router_traits

Evaluation = Mapping[str, Any]


def sweep_table(evaluation: Evaluation) -> pd.DataFrame:
    """Return one row per threshold of the sweep (the same logit at every recursion), in ascending order.

    Raises:
        ResultError: a figure is missing.
    """
    return _read(evaluation, lambda found: _sweep(found.get("threshold_sweep", [])))


def agreement_table(evaluation: Evaluation) -> pd.DataFrame:
    """Return one row per recursion: how often top-k over a whole window and the threshold decide the same.

    Raises:
        ResultError: a figure is missing.
    """
    return _read(evaluation, lambda found: _by_recursion(found, "topk_threshold_agreement"))


def entropy_table(evaluation: Evaluation) -> pd.DataFrame:
    """Return one row per recursion (one in all for token-choice): mean entropy of the decisions, in nats.

    Raises:
        ResultError: a figure is missing.
    """
    return _read(evaluation, lambda found: _by_recursion(found, "entropy"))


def load_table(evaluation: Evaluation, config: Mapping[str, Any]) -> pd.DataFrame:
    """Return the measured shares of tokens beside the shares that training aimed at.

    For expert-choice: one row per recursion, with the share of tokens that entered and the capacity. For token-choice:
    one row per depth, with the share of tokens that took it and a uniform share.

    Raises:
        ResultError: a figure is missing.
    """

    def read(found: Evaluation) -> pd.DataFrame:
        shares = [float(share) for share in found.get("router", {}).get("shares_per_depth", [])]
        if not shares:
            return pd.DataFrame(columns=["recursion", "measured", "aimed_at"])
        if router_traits(config).chooses_once:
            measured, aimed = shares, [1 / len(shares)] * len(shares)
        else:
            measured = [sum(shares[index:]) for index in range(len(shares))]
            aimed = capacity_shares(config)
        numbers = range(1, len(shares) + 1)
        return pd.DataFrame({"recursion": numbers, "measured": measured, "aimed_at": aimed})

    return _read(evaluation, read)


def reach_table(evaluation: Evaluation) -> pd.DataFrame:
    """Return one row per range of positions in the window: its tokens, and the share that took the last recursion.

    Raises:
        ResultError: a figure is missing.
    """

    def read(found: Evaluation) -> pd.DataFrame:
        rows = [
            {
                "positions": f"{group['first']}-{group['last']}"
                if group["first"] != group["last"]
                else str(group["first"]),
                "num_tokens": group["num_tokens"],
                "share_at_full_depth": group["shares"][-1],
            }
            for group in found.get("depths", {}).get("by_position", [])
        ]
        return pd.DataFrame(rows, columns=["positions", "num_tokens", "share_at_full_depth"])

    return _read(evaluation, read)


def _read(evaluation: Evaluation, make: Callable[[Evaluation], pd.DataFrame]) -> pd.DataFrame:
    try:
        return make(evaluation)
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        problem = damaged("evaluation.json", error, "mor report --checkpoint NAME")
        raise ResultError(problem) from error


def _sweep(points: list[Mapping[str, Any]]) -> pd.DataFrame:
    table = points_table(points)
    return table if table.empty else table.sort_values("threshold_logit", ignore_index=True)


def _by_recursion(evaluation: Evaluation, name: str) -> pd.DataFrame:
    values = evaluation.get("router", {}).get(name) or []
    return pd.DataFrame(
        {"recursion": range(1, len(values) + 1), "value": pd.Series(values, dtype="float64")}
    )
