"""Statistics of token depths: by token class, position, surprisal and token type, and compared with early exits.

Pure arithmetic on the rows of `depth_record.py`; every result is plain data for evaluation.json.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from mor_core.traces.token_class import FUNCTION_WORDS, OTHER

SURPRISAL_GROUPS = 5
MIN_OCCURRENCES = 20  # the mean depth of a rarer token type is too noisy


def describe_depths(rows: pd.DataFrame, num_recursions: int) -> dict[str, Any]:
    """Return all statistics of a table of depths.

    Args:
        rows: as `record_depths` returns them.
        num_recursions: R.
    """
    return {
        "num_tokens": len(rows),
        "num_documents": int(rows["document"].nunique()),
        "shares_per_depth": depth_shares(rows["depth"], num_recursions),
        "by_class": by_class(rows, num_recursions),
        "by_position": by_position(rows, num_recursions),
        "by_next_surprisal": by_surprisal(rows, num_recursions),
        "explained_by_token": variance_explained_by_token(rows),
        "prediction_depth": against_prediction(rows, num_recursions),
        "dead_token_ratio": dead_token_ratio(rows, num_recursions),
    }


def depth_shares(depths: pd.Series, num_recursions: int) -> list[float]:
    """Return the share of tokens at depth 1, 2, ... R; the sum is below 1 if some tokens have depth 0."""
    return [float((depths == depth).mean()) for depth in range(1, num_recursions + 1)]


def by_class(rows: pd.DataFrame, num_recursions: int) -> dict[str, dict[str, Any]]:
    """Return count, mean depth and shares of each token class, and of all function words and all content words."""
    groups = {str(name): group for name, group in rows.groupby("token_class", sort=False)}
    functions = rows[rows["token_class"].isin(FUNCTION_WORDS)]
    named = {"function word": functions, "content word": groups.pop(OTHER, rows.iloc[:0])}
    return {
        name: _summary(group, num_recursions)
        for name, group in (named | groups).items()
        if len(group)
    }


def by_position(rows: pd.DataFrame, num_recursions: int) -> list[dict[str, Any]]:
    """Return count, mean depth and shares for ranges of window positions, each twice as long as the one before."""
    edges = [1]
    while edges[-1] <= rows["window_position"].max():
        edges.append(edges[-1] * 2)
    found = []
    for first, after in pairwise(edges):
        group = rows[(rows["window_position"] >= first) & (rows["window_position"] < after)]
        if len(group):
            found.append({"first": first, "last": after - 1, **_summary(group, num_recursions)})
    return found


def by_surprisal(rows: pd.DataFrame, num_recursions: int) -> dict[str, Any]:
    """Return depth by the surprisal of the next token, in groups of equal size.

    `rank_correlation` is Spearman's, of depth and surprisal. If it is above 0, the router spends more where prediction
    is harder.
    """
    known = rows[rows["surprisal"].notna()]
    groups = pd.qcut(known["surprisal"], SURPRISAL_GROUPS, labels=False, duplicates="drop")
    found = [
        {
            "from_nats": float(group["surprisal"].min()),
            "to_nats": float(group["surprisal"].max()),
            **_summary(group, num_recursions),
        }
        for _, group in known.groupby(groups)
    ]
    return {
        "rank_correlation": rank_correlation(known["depth"], known["surprisal"]),
        "groups": found,
    }


def variance_explained_by_token(rows: pd.DataFrame) -> dict[str, float | int | None]:
    """Return the share of the variance of depth that the token type alone explains.

    Eta squared is biased upwards if there are many rare types, so epsilon squared is given too:
    (SSB - (k - 1) MSW) / SST for k types. Source: Kelley, PNAS 21, 1935.
    """
    depths = rows["depth"].to_numpy(float)
    types = rows.groupby("token_id")["depth"]
    num_types, total = types.ngroups, float(((depths - depths.mean()) ** 2).sum())
    if total == 0 or len(rows) <= num_types:
        return {"num_types": num_types, "eta_squared": None, "epsilon_squared": None}
    within = float(((rows["depth"] - types.transform("mean")) ** 2).sum())
    per_degree = within / (len(rows) - num_types)
    between = total - within
    return {
        "num_types": num_types,
        "eta_squared": between / total,
        "epsilon_squared": (between - (num_types - 1) * per_degree) / total,
    }


def against_prediction(rows: pd.DataFrame, num_recursions: int) -> dict[str, Any]:
    """Compare the depth that the router chose with the prediction depth of each token.

    `counts[i][j]` is the number of tokens with depth i + 1 and prediction depth j + 1. A token that stopped at depth d
    cannot have a prediction depth above d, so the two are not independent even by chance.
    """
    levels = range(1, num_recursions + 1)
    counts = [
        [int(((rows["depth"] == d) & (rows["prediction_depth"] == p)).sum()) for p in levels]
        for d in levels
    ]
    return {
        "counts": counts,
        "equal_share": float((rows["depth"] == rows["prediction_depth"]).mean()),
        "rank_correlation": rank_correlation(rows["depth"], rows["prediction_depth"]),
    }


def dead_token_ratio(rows: pd.DataFrame, num_recursions: int) -> float:
    """Return the share of window positions at which no token ever reached the last recursion.

    Counted as in the paper's Table 13, over this text's windows instead of 500 samples of 2,000 tokens.
    """
    reached = rows.groupby("window_position")["depth"].max() == num_recursions
    return float(1 - reached.mean())


def router_entropy(rows: pd.DataFrame, *, over_depths: bool) -> list[float | None]:
    """Return the mean entropy of the router's decisions in nats.

    Args:
        rows: as `record_depths` returns them.
        over_depths: True for one number, the entropy of the softmax over depths (token-choice); False for one number
            per recursion, the entropy of the sigmoid's two outcomes (expert-choice), `None` if no token was scored
            there.
    """
    logits = rows[[name for name in rows if str(name).startswith("logit_")]].to_numpy(float)
    if over_depths:
        shifted = logits - logits.max(1, keepdims=True)
        log_probs = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
        return [float(-(np.exp(log_probs) * log_probs).sum(1).mean())]
    found: list[float | None] = []
    for column in logits.T:
        scored = column[~np.isnan(column)]
        # H(sigmoid(z)) = log(1 + e^z) - z sigmoid(z), and it is even in z
        size = np.abs(scored)
        entropy = np.log1p(np.exp(-size)) + size / (1 + np.exp(size))
        found.append(float(entropy.mean()) if len(scored) else None)
    return found


def load_violation(rows: pd.DataFrame, num_recursions: int) -> float:
    """Return (largest load - expected) / expected over the depths (MaxVio); 0 if all are equally common."""
    shares = depth_shares(rows["depth"], num_recursions)
    return max(shares) * num_recursions - 1


def type_depths(rows: pd.DataFrame) -> pd.Series:
    """Return the mean depth of each token type that occurs at least `MIN_OCCURRENCES` times, by token id."""
    types = rows.groupby("token_id")["depth"]
    return types.mean()[types.count() >= MIN_OCCURRENCES]


def rank_correlation(
    first: pd.Series | Sequence[float], second: pd.Series | Sequence[float]
) -> float | None:
    """Return Spearman's rank correlation, ties at their mean rank; `None` if either is constant."""
    pair = pd.DataFrame({"first": list(first), "second": list(second)}).astype(float)
    found = float(pair.corr("spearman").to_numpy()[0, 1])
    return None if np.isnan(found) else found


def _summary(group: pd.DataFrame, num_recursions: int) -> dict[str, Any]:
    return {
        "num_tokens": len(group),
        "mean_depth": float(group["depth"].mean()),
        "shares": depth_shares(group["depth"], num_recursions),
    }
