"""The Efficiency page's panels on all checkpoints: quality against cost, seeds, rules, thresholds, paper, claims."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from app.charts import family as family_charts
from app.charts import pairs as pairs_charts
from app.charts import paper as paper_charts
from app.frame import messages, page_parts
from app.runs import resources
from app.tables import bench_results, claims, family_results
from app.tables.result_files import ResultError
from app.text.words import say
from mor_core.checkpoints.checkpoint import checkpoint_root

Family = Mapping[str, Any]


def read() -> Family:
    """Return the content of the family file; empty if there is none or, with an error message, if it is damaged."""
    try:
        return resources.family()
    except ResultError as error:
        messages.show_problem(error)
        return {}


def draw(family: Family) -> None:
    """Draw all comparisons of checkpoints, or say how to create the family file."""
    page_parts.heading(
        say("efficiency.family_heading"), "bits per byte", "active FLOPs", "KV cache"
    )
    if not family:
        messages.show_info(say("efficiency.no_family"))
        return
    _quality_against_cost(family)
    _differences(family)
    _curves(family)
    _seeds(family)
    _rules(family)
    _sweep(family)


def draw_paper(family: Family) -> None:
    """Draw the paper's published numbers, and common claims beside what was measured here."""
    _paper()
    if family:
        _claims(family)
    else:
        messages.show_info(say("efficiency.no_family"))


def _quality_against_cost(family: Family) -> None:
    table = family_results.members_table(family)
    cost = st.segmented_control(
        say("efficiency.cost"),
        family_charts.costs_of(table),
        format_func=lambda name: say(f"efficiency.cost_{name}"),
        default="training_flops",
        required=True,
        key="cost",
        bind="query-params",
    )
    chart = family_charts.pareto(table, cost or "training_flops", family_results.seed_gap(family))
    caption = say("efficiency.family_caption", text=family["members"][0]["text"])
    if cost in family_results.SPEEDS:
        caption += f"  \n{_speed_caption(family, cost)}"
    page_parts.show_chart(chart, key="pareto", caption=caption)
    page_parts.show_table(table, key="family")


def _speed_caption(family: Family, cost: str) -> str:
    """State what was timed on which machine, and which members were not measured."""
    how = family_results.speed_conditions(family, cost)
    how["machine"] = messages.as_text(how["machine"])
    parts = [say(f"efficiency.measured_{cost}"), say("efficiency.speed_caption", **how)]
    name = family_results.SPEEDS[cost]
    missing = [member["name"] for member in family["members"] if not member.get(name)]
    if missing:
        names = say("charts.list_separator").join(missing)
        parts.append(say("efficiency.speed_missing", names=messages.as_text(names)))
    return " ".join(parts)


def _differences(family: Family) -> None:
    if not family.get("differences"):
        return
    page_parts.heading(say("efficiency.differences_heading"))
    names = [member["name"] for member in family["members"]]
    name = st.selectbox(
        say("efficiency.reference"),
        names,
        index=family_results.reference_of(family),
        key="reference",
        bind="query-params",
        width=400,
    )
    table = family_results.differences_table(family, str(name))
    chart = pairs_charts.differences(table, str(name), family_results.seed_gap(family))
    page_parts.show_chart(chart, key="differences", caption=say("efficiency.differences_caption"))


def _seeds(family: Family) -> None:
    pairs = [pair for pair in family.get("seeds", []) if "classes" in pair]
    if not pairs:
        return
    page_parts.heading(say("efficiency.seeds_heading"))
    for number, pair in enumerate(pairs):
        chart = pairs_charts.seed_depths(family_results.seeds_table(pair), pair)
        page_parts.show_chart(chart, key=f"seeds_{number}", caption=say("efficiency.seeds_caption"))


def _curves(family: Family) -> None:
    page_parts.heading(say("efficiency.curves_heading"))
    logs = {}
    for member in family["members"]:
        try:
            logs[member["name"]] = resources.training_log(member["name"])
        except (ResultError, OSError) as error:
            messages.show_problem(error, member["name"])
    page_parts.show_chart(
        family_charts.curves(logs), key="curves", caption=say("efficiency.curves_caption")
    )


def _rules(family: Family) -> None:
    routed = [member["name"] for member in family["members"] if len(member["results"]) > 1]
    if not routed:
        return
    page_parts.heading(say("efficiency.rules_heading"), "router", "gate", "top-k rule")
    name = _chosen_member(routed, "rules_of")
    table = family_results.rules_table(family, name)
    random = table[(table["routing"] == "random") & (table["gate"] == "learned")].iloc[0]
    finding = say(
        "efficiency.random_finding",
        name=name,
        gap=f"{random['more_nats']:.4f}",
        low=f"{random['more_nats_low']:.4f}",
        high=f"{random['more_nats_high']:.4f}",
    )
    control = claims.against_control(family, name)
    st.markdown(f"**{messages.as_text(f'{finding} {control}'.strip())}**")
    page_parts.show_table(table, key="rules")
    st.caption(say("efficiency.rules_caption"))


def _sweep(family: Family) -> None:
    swept = list(family_results.with_sweep(family))
    if not swept:
        return
    page_parts.heading(say("efficiency.sweep_heading"), "router score", "causal rule")
    name = _chosen_member(swept, "sweep_of")
    chart = family_charts.sweep(family_results.sweep_table(family, name))
    page_parts.show_chart(chart, key="sweep", caption=say("efficiency.sweep_caption"))


def _paper() -> None:
    page_parts.heading(say("efficiency.paper_heading"))
    table, speeds = family_results.paper_table(), family_results.paper_throughput_table()
    caption = say("efficiency.paper_caption")
    page_parts.show_chart(paper_charts.losses(table), key="paper", caption=caption)
    caption = say("efficiency.paper_throughput_caption")
    page_parts.show_chart(paper_charts.throughput(speeds), key="paper_throughput", caption=caption)


def _claims(family: Family) -> None:
    page_parts.heading(say("efficiency.claims_heading"))
    documents, _ = bench_results.read_benchmarks(
        checkpoint_root()
    )  # the part on peers reports damaged files
    table = claims.claims_table(family, documents)
    st.table(table.map(messages.as_text), border="horizontal", hide_index=True)


def _chosen_member(names: list[str], key: str) -> str:
    if len(names) == 1:
        return names[0]
    name = st.selectbox(say("frame.checkpoint"), names, key=key, bind="query-params", width=400)
    return str(name)
