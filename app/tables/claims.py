"""Builds the table of claims about MoR: the common claim, the paper's wording, and what was measured here.

Pure. The texts are in `app/text/words`. A claim without a measurement is marked as unmeasured.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from app.style.theme import format_bytes, format_flops
from app.tables.family_results import (
    at_equal_compute,
    control_of,
    difference,
    is_plain,
    seed_gap,
    verdicts,
)
from app.text.words import say
from mor_core.model.router_types import router_traits

CLAIMS = ("better", "recursion", "parameters", "cache", "router", "speed")

_STACK = ("num_recursions", "num_hidden_layers", "kv_strategy", "sharing")

Member = Mapping[str, Any]


def claims_table(
    family: Mapping[str, Any], benchmarks: Sequence[Mapping[str, Any]] = ()
) -> pd.DataFrame:
    """Return one row per claim.

    Args:
        family: content of the family file.
        benchmarks: result documents of `mor bench`.
    """
    plain, routed = _pair(family["members"])
    measured = {
        "better": _compared(family, plain, routed),
        "recursion": _compared(family, *_recursive_pair(family["members"])),
        "parameters": _parameters(plain, routed),
        "cache": _cache(routed),
        "router": f"{_router(routed)} {_controls(family, routed)}".strip(),
        "speed": _speed(benchmarks),
    }
    return pd.DataFrame(
        [
            {
                say("efficiency.claims_column_said"): say(f"efficiency.claim_{claim}_said"),
                say("efficiency.claims_column_paper"): say(f"efficiency.claim_{claim}_paper"),
                say("efficiency.claims_column_ours"): measured.get(claim)
                or say("efficiency.claim_unmeasured"),
            }
            for claim in CLAIMS
        ]
    )


def against_control(family: Mapping[str, Any], name: str) -> str:
    """Say by how much a member's random-routing control is worse; empty if there is no control."""
    control = control_of(family, name)
    if control is None:
        return ""
    return say("efficiency.control_finding", control=control, name=name) + _paired(
        family, name, control
    )


def _trained_routers(members: list[Member]) -> list[Member]:
    """Return the members with a trained router, the best first."""
    found = [
        member
        for member in members
        if router_traits(member["model"]).has_router and member["model"]["router_control"] == "none"
    ]
    return sorted(found, key=lambda member: float(_own(member)["bits_per_byte"]))


def _pair(members: list[Member]) -> tuple[Member | None, Member | None]:
    """Return a plain Transformer and the best router of equal seed and training FLOPs; else only the first router."""
    routers = _trained_routers(members)
    plains = filter(is_plain, members)
    for plain in plains:
        for routed in routers:
            if routed["seed"] == plain["seed"] and at_equal_compute(routed, plain):
                return plain, routed
    return None, next((member for member in members if member in routers), None)


def _recursive_pair(members: list[Member]) -> tuple[Member | None, Member | None]:
    """Return a recursive model without a router, and the best router with the same architecture and training FLOPs."""
    for routed in _trained_routers(members):
        for member in members:
            # Only the same seed: taking the better of two seeds would bias the comparison.
            is_like = all(member["model"][name] == routed["model"][name] for name in _STACK)
            is_like = is_like and member["seed"] == routed["seed"]
            is_unrouted = not router_traits(member["model"]).has_router
            if is_unrouted and is_like and at_equal_compute(member, routed):
                return member, routed
    return None, None


def _own(member: Member) -> Mapping[str, Any]:
    """Return a member's results under its own routing rule."""
    found: Mapping[str, Any] = member["results"][0]
    return found


def _compared(family: Mapping[str, Any], plain: Member | None, routed: Member | None) -> str:
    """Describe the quality of both members and their difference on the same documents."""
    if plain is None or routed is None:
        return ""
    return _better(plain, routed) + _paired(family, plain["name"], routed["name"])


def _better(plain: Member, routed: Member) -> str:
    ours, theirs = _own(routed), _own(plain)
    low, high = ours["bits_per_byte_interval"]
    plain_low, plain_high = theirs["bits_per_byte_interval"]
    return say(
        "efficiency.claim_better_ours",
        ours=routed["name"],
        plain=plain["name"],
        bits=f"{ours['bits_per_byte']:.4f}",
        low=f"{low:.4f}",
        high=f"{high:.4f}",
        plain_bits=f"{theirs['bits_per_byte']:.4f}",
        plain_low=f"{plain_low:.4f}",
        plain_high=f"{plain_high:.4f}",
        flops=format_flops(routed["training"]["active_flops"]),
        plain_flops=format_flops(plain["training"]["active_flops"]),
    )


def _paired(family: Mapping[str, Any], reference: str, name: str) -> str:
    """Describe a member's paired loss difference from a reference, and whether it is larger than chance."""
    row = difference(family, reference, name)
    if row.empty:
        return ""
    text = say(
        "efficiency.claim_better_paired",
        more=f"{row['more_nats'].iloc[0]:+.4f}",
        low=f"{row['low'].iloc[0]:+.4f}",
        high=f"{row['high'].iloc[0]:+.4f}",
    )
    gap = seed_gap(family)
    if gap is None:
        text += f" {say('efficiency.claim_open_one_seed')}"
    elif verdicts(row, gap) == ["open"]:
        text += f" {say('efficiency.claim_open', gap=f'{gap:.4f}')}"
    return f" {text}"


def _controls(family: Mapping[str, Any], routed: Member | None) -> str:
    """Describe the random-routing controls of the trained routers with the same training FLOPs as `routed`."""
    found = [
        against_control(family, member["name"])
        for member in _trained_routers(family["members"])
        if routed is not None and at_equal_compute(member, routed)
    ]
    return " ".join(filter(None, found))


def _parameters(plain: Member | None, routed: Member | None) -> str:
    if plain is None or routed is None:
        return ""
    small, large = (member["model"]["parameters_without_embeddings"] for member in (routed, plain))
    return say(
        "efficiency.claim_parameters_ours",
        ours=routed["name"],
        plain=plain["name"],
        share=f"{small / large:.0%}",
        small=f"{small / 1e6:.2f}",
        large=f"{large / 1e6:.2f}",
    )


def _cache(routed: Member | None) -> str:
    if routed is None:
        return ""
    sizes = routed["kv_bytes_per_token"]["bfloat16"]
    return say(
        "efficiency.claim_cache_ours",
        ours=routed["name"],
        bytes=format_bytes(sizes["own"]),
        plain_bytes=format_bytes(sizes["plain_transformer"]),
        saved=f"{1 - sizes['own'] / sizes['plain_transformer']:.0%}",
    )


def _router(routed: Member | None) -> str:
    if routed is None or "depths" not in routed:
        return ""
    random = [
        result
        for result in routed["results"][1:]
        if result["routing"]["name"] == "random" and result["routing"]["gate"] == "learned"
    ]
    surprise = routed["depths"]["by_next_surprisal"]["rank_correlation"]
    identity = routed["depths"]["explained_by_token"]["epsilon_squared"]
    if not random or surprise is None or identity is None:
        return ""
    more = random[0]["more_nats_than_own_rule"]
    low, high = more["interval"]
    return say(
        "efficiency.claim_router_ours",
        ours=routed["name"],
        gap=f"{more['nll_nats_per_token']:.4f}",
        low=f"{low:.4f}",
        high=f"{high:.4f}",
        surprise=f"{surprise:.3f}",
        identity=f"{identity:.0%}",
    )


def _speed(benchmarks: Sequence[Mapping[str, Any]]) -> str:
    """Describe the range of measured serving ratios, only of points whose peer is equally optimised (`counts`)."""
    points = [
        result
        for document in benchmarks
        if document["benchmark"] == "serve"
        for result in document["results"]
        if result["extra"].get("counts")
    ]
    if not points:
        return ""
    slowest, fastest = (pick(points, key=lambda point: point["ratio"]) for pick in (min, max))
    return say(
        "efficiency.claim_speed_ours",
        count=len(points),
        low=f"{slowest['ratio']:.2f}",
        low_what=slowest["what"],
        high=f"{fastest['ratio']:.2f}",
        high_what=fastest["what"],
        bound=f"{fastest['bound']:.2f}",
    )
