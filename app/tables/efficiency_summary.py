"""The efficiency summary of one model: FLOPs, KV bytes, time and loss, each on its own and never combined. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from app.tables import costs, family_results
from app.text.words import say

if TYPE_CHECKING:
    from mor_core.model.config import MoRConfig

_BYTES_PER_NUMBER = 2  # either dtype gives the same share


@dataclass(frozen=True)
class Answer:
    """One figure of the summary.

    Attributes:
        question: the figure's label.
        value: the formatted value; a dash if it was not measured.
        how: how the value was measured or counted.
    """

    question: str
    value: str
    how: str


def answers(
    name: str,
    config: "MoRConfig",
    shares: Sequence[float],
    calls: pd.DataFrame,
    family: Mapping[str, Any],
) -> list[Answer]:
    """Return the figures for FLOPs, KV bytes, time and loss.

    Args:
        name: the checkpoint's name.
        config: configuration of a model with a router.
        shares: share of tokens that take recursion 1, 2, ...
        calls: the table of `app.tables.result_files.decode_table`.
        family: content of the family file; empty if there is none.
    """
    tokens = config.max_position_embeddings
    flops = costs.flops_table(config, tokens, shares).groupby("model")["flops"].sum()
    active = costs.active_counts(tokens, shares)
    return [
        Answer(
            say("efficiency_summary.flops"),
            f"{flops[costs.ROUTED] / flops[costs.PLAIN]:.0%}",
            say("efficiency_summary.flops_how", tokens=f"{tokens:,}"),
        ),
        Answer(
            say("efficiency_summary.kv"),
            f"{_kv_share(config, active):.0%}",
            say("efficiency_summary.kv_how"),
        ),
        _time(calls, config.num_recursions),
        _loss(name, family),
    ]


def _kv_share(config: "MoRConfig", active: Sequence[int]) -> float:
    from mor_core.model.accounting import kv_bytes, vanilla_kv_bytes

    tokens = config.max_position_embeddings
    own = kv_bytes(config, tokens, active, _BYTES_PER_NUMBER)
    return own / vanilla_kv_bytes(config, tokens, _BYTES_PER_NUMBER)


def _time(calls: pd.DataFrame, num_recursions: int) -> Answer:
    deepest = calls[calls["recursion_depth"] == num_recursions]["latency_s"]
    if deepest.empty:
        return Answer(say("efficiency_summary.time"), "–", say("efficiency_summary.time_none"))
    share = calls["latency_s"].median() / deepest.median()
    how = say("efficiency_summary.time_how", calls=f"{len(calls):,}", depth=num_recursions)
    return Answer(say("efficiency_summary.time"), f"{share:.0%}", how)


def _loss(name: str, family: Mapping[str, Any]) -> Answer:
    members = {member["name"]: member for member in family.get("members", [])}
    plain = list(members)[family_results.reference_of(family)] if members else ""
    table = family_results.differences_table(family, plain)
    rows = table[table["name"] == name]
    if rows.empty:
        return Answer(say("efficiency_summary.loss"), "–", say("efficiency_summary.loss_none"))
    row = rows.iloc[0]
    own, other = (members[one]["training"]["tokens"] / 1e6 for one in (name, plain))
    how = say(
        "efficiency_summary.loss_how",
        name=plain,
        low=f"{row['low']:+.4f}",
        high=f"{row['high']:+.4f}",
        own=f"{own:.1f}",
        other=f"{other:.1f}",
    )
    more = f"{row['more_nats']:+.3f}".replace("-", "−")
    return Answer(say("efficiency_summary.loss"), say("efficiency_summary.nats", more=more), how)
