"""The Router page's panels: a run's router scores, a movable threshold, and the evaluation's figures."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import streamlit as st

from app.charts import knob as knob_charts
from app.charts import load as load_charts
from app.charts import router as router_charts
from app.charts import run_heatmaps
from app.frame import messages, page_parts
from app.frame.routing_controls import THRESHOLD_LOGITS
from app.tables import router_results, router_tables
from app.tables.result_files import ResultError
from app.text.display_names import rule_label
from app.text.words import say
from app.views.run_picker import Chosen
from mor_core.checkpoints.checkpoint import CheckpointInfo
from mor_core.model.router_types import router_traits
from mor_core.traces.thresholds import threshold_logits
from mor_core.traces.trace import Trace

ONE_RUN, ALL_RUNS = SCOPES = "one", "all"
BY_LOGIT, BY_SHARE = SCALES = "logit", "share"


def draw(chosen: Chosen) -> None:
    """Draw the panels for the chosen run and its checkpoint."""
    info, trace = chosen.info, chosen.trace
    if info is not None and not router_traits(info.config).has_router:
        _explain_no_router(info.name, info.config)
        return
    if info is None and trace is not None and not trace.header.router.has_router:
        _explain_no_router(trace.header.checkpoint, trace.header.config)
        return
    if trace is not None:
        scores_panel(trace, runs_of_same_rule(chosen))
        threshold_panel(trace)
    if info is not None:
        evaluation_panels(info)
        facts_panel(info)


def _explain_no_router(name: str, config: Mapping[str, Any]) -> None:
    recursions = int(config.get("num_recursions", 1))
    messages.show_info(say("router.no_router", name=name, recursions=recursions))


def runs_of_same_rule(chosen: Chosen) -> list[Trace]:
    """Return the checkpoint's recorded runs with the chosen run's routing; empty if that is not a recorded run."""
    if chosen.info is None or chosen.trace is None or chosen.name is None:
        return []
    rule = chosen.trace.header.routing
    opened = messages.opened_traces(chosen.info.path)
    return [trace for trace in opened if trace.tokens and trace.header.routing == rule]


def scores_panel(trace: Trace, same_rule: Sequence[Trace]) -> None:
    """Draw the distribution of scores in the run, or in all recorded runs with the same routing."""
    header = trace.header
    chooses_depth = header.router.chooses_once
    page_parts.heading(say("router.scores_heading"), "router score", "threshold", "logit")
    traces = [trace]
    if len(same_rule) > 1:
        scope = st.segmented_control(
            say("router.scope"),
            list(SCOPES),
            format_func=lambda name: say(f"router.scope_{name}", runs=len(same_rule)),
            default=ALL_RUNS,
            required=True,
            key="scope",
            bind="query-params",
            label_visibility="collapsed",
        )
        traces = list(same_rule) if scope == ALL_RUNS else traces
    table = router_tables.score_table(traces)
    if table.empty:
        messages.show_info(say("router.nothing_scored"))
        return
    chart = router_charts.score_distributions(
        table, header.num_recursions, chooses_depth=chooses_depth
    )
    caption = "router.scores_caption_choice" if chooses_depth else "router.scores_caption"
    page_parts.show_chart(chart, key="scores", caption=say(caption))
    if chooses_depth:
        _probabilities(trace)


def _probabilities(trace: Trace) -> None:
    """Draw a token-choice router's score of every depth for every token."""
    page_parts.heading(say("router.probabilities_heading"), "token-choice")
    window = page_parts.choose_window(len(trace.tokens), key="router_window")
    finding = router_charts.choice_finding(router_tables.score_table([trace]))
    chart = replace(run_heatmaps.score_heatmap(trace, window), finding=finding)
    page_parts.show_chart(chart, key="probabilities")


@st.fragment
def threshold_panel(trace: Trace) -> None:
    """Let the reader move a threshold, and draw the decisions that would flip."""
    header = trace.header
    page_parts.heading(say("router.knob_heading"), "threshold", "causal rule")
    deciding = router_tables.deciding_recursions(header)
    if not deciding:
        reason = "choice" if header.router.chooses_once else "rule"
        rule = rule_label(header.routing.get("name", "unknown"))
        messages.show_info(say(f"router.no_knob_{reason}", rule=rule))
        return
    table = router_tables.score_table([trace])
    number, rows, limit = _choose_threshold(table, deciding, threshold_logits(header))
    if rows.empty:
        messages.show_info(say("router.nothing_reached", recursion=number))
        return
    moved = router_tables.move_threshold(rows, limit)
    trained = threshold_logits(header)[number - 1]
    assert trained is not None, "a deciding recursion has a threshold"
    chart = knob_charts.moved_threshold(moved, number, trained, len(trace.tokens))
    later = "router.knob_last" if number == header.num_recursions else "router.knob_later"
    before = "router.knob_first" if number == min(deciding) else "router.knob_deeper"
    caption = " ".join([say(before, recursion=number), say(later), say("router.knob_not_run")])
    page_parts.show_chart(chart, key="moved", caption=caption)


def _choose_threshold(
    table: pd.DataFrame, deciding: list[int], limits: list[float | None]
) -> tuple[int, pd.DataFrame, float]:
    """Draw the widgets; return the recursion, its candidates and the threshold logit."""
    left, middle, right = st.columns([1.2, 1.4, 3], vertical_alignment="bottom")
    number = deciding[0]
    if len(deciding) > 1:
        number = (
            left.segmented_control(
                say("router.recursion"),
                deciding,
                default=deciding[0],
                required=True,
                key="recursion",
                bind="query-params",
            )
            or deciding[0]
        )
    scale = middle.segmented_control(
        say("router.scale"),
        list(SCALES),
        format_func=lambda name: say(f"router.scale_{name}"),
        default=BY_LOGIT,
        required=True,
        key="scale",
        bind="query-params",
    )
    rows = table[table["recursion"] == number]
    if scale == BY_SHARE and not rows.empty:
        entered = round(float(rows["entered"].mean()) * 100)
        percent = right.slider(
            say("router.share"),
            0,
            100,
            entered,
            key=f"share_{number}",
            bind="query-params",
            format="%d%%",
        )
        # An untouched slider means the run's own threshold, not its share rounded to a percent.
        if percent != entered:
            return (
                number,
                rows,
                router_tables.threshold_for_share(list(rows["logit"]), percent / 100),
            )
        return number, rows, limits[number - 1] or 0.0
    trained = limits[number - 1] or 0.0
    low, high = THRESHOLD_LOGITS
    limit = right.slider(
        say("router.threshold"),
        min(low, trained),
        max(high, trained),
        trained,
        0.25,
        key=f"threshold_{number}",
        bind="query-params",
        format="%+.2f",
    )
    return number, rows, float(limit)


def evaluation_panels(info: CheckpointInfo) -> None:
    """Draw the evaluation's figures on held-out text."""
    evaluation = info.evaluation
    if not evaluation.get("results"):
        page_parts.heading(say("router.evaluation_heading"))
        messages.show_info(say("efficiency.no_evaluation", name=info.name))
        return
    if evaluation.get("checkpoint_sha256", info.sha256) != info.sha256:
        messages.show_warning(say("efficiency.stale_evaluation", name=info.name))
    try:
        _sweep_panel(info)
        _decisions_panel(evaluation)
        _load_panel(info)
    except ResultError as error:
        messages.show_problem(error, info.name)


def _sweep_panel(info: CheckpointInfo) -> None:
    page_parts.heading(say("router.sweep_heading"), "threshold", "active FLOPs", "recursion depth")
    table = router_results.sweep_table(info.evaluation)
    if table.empty:
        is_choice = router_traits(info.config).chooses_once
        messages.show_info(say("router.no_sweep_choice" if is_choice else "router.no_sweep"))
        return
    first = table.iloc[0]
    caption = say(
        "router.sweep_caption",
        documents=int(first["num_documents"]),
        tokens=f"{int(first['num_tokens']):,}",
        text=info.evaluation.get("text", "evaluation.json"),
    )
    page_parts.show_chart(router_charts.sweep(table), key="router_sweep", caption=caption)


def _decisions_panel(evaluation: Mapping[str, Any]) -> None:
    agreement = router_results.agreement_table(evaluation)
    entropy = router_results.entropy_table(evaluation)
    if agreement.empty and entropy.empty:
        return
    page_parts.heading(
        say("router.decisions_heading"), "top-k rule", "causal rule", "router entropy"
    )
    left, right = st.columns(2, gap="large")
    with left:
        if agreement.empty:
            messages.show_info(say("router.no_agreement"))
        else:
            caption = say("router.agreement_caption")
            page_parts.show_chart(
                load_charts.agreement(agreement), key="agreement", caption=caption
            )
    if not entropy.empty:
        shares = evaluation.get("router", {}).get("shares_per_depth", [])
        choices = len(shares) if len(entropy) == 1 and len(shares) > 1 else 2
        chart = load_charts.entropy(entropy, num_choices=choices)
        with right:
            page_parts.show_chart(chart, key="entropy", caption=say("router.entropy_caption"))


def _load_panel(info: CheckpointInfo) -> None:
    load = router_results.load_table(info.evaluation, info.config)
    reach = router_results.reach_table(info.evaluation)
    if load.empty:
        return
    page_parts.heading(say("router.load_heading"), "capacity", "load", "dead tokens")
    router = info.evaluation["router"]
    left, right = st.columns(2, gap="large")
    with left:
        chart = load_charts.load(load, router.get("load_violation"))
        page_parts.show_chart(chart, key="load", caption=say("router.load_caption"))
    if not reach.empty:
        with right:
            chart = load_charts.reach(reach, router.get("dead_token_ratio"))
            page_parts.show_chart(chart, key="reach", caption=say("router.reach_caption"))


def facts_panel(info: CheckpointInfo) -> None:
    """Draw a table of facts on the model's routers."""
    page_parts.heading(say("router.facts_heading"), "router", "gate", "capacity")
    facts = router_tables.router_facts(info.config)
    shape = " → ".join(map(str, facts["shape"]))
    # The texts describe capabilities, so they also hold for other router types with the same capabilities.
    kind = "token_choice" if facts["chooses_once"] else "expert_choice"
    rows = {
        "router.fact_type": say(f"router.type_{kind}"),
        "router.fact_network": say(f"router.network_{facts['network']}", shape=shape),
        "router.fact_count": say(
            "router.count", count=facts["routers"], weights=f"{facts['weights']:,}"
        ),
        "router.fact_activation": say(
            "router.activation", name=facts["activation"], alpha=f"{facts['alpha']:g}"
        ),
        "router.fact_taught": _supervision(facts),
    }
    if facts["has_top_k"]:
        shares = ", ".join(f"{share:.0%}" for share in router_tables.capacity_shares(info.config))
        rows["router.fact_capacity"] = say("router.capacities", shares=shares)
    if facts["control"] not in (None, "none"):
        rows["router.fact_control"] = say(f"router.control_{facts['control']}")
    fact, value = say("router.column_fact"), say("router.column_value")
    table = pd.DataFrame([{fact: say(key), value: text} for key, text in rows.items()])
    st.table(table.map(messages.as_text), border="horizontal", hide_index=True)
    st.caption(say("router.facts_caption"))


def _supervision(facts: Mapping[str, Any]) -> str:
    if facts["chooses_once"]:
        return say(f"router.balancing_{facts['balancing']}")
    return say(f"router.supervision_{facts['supervision']}")
