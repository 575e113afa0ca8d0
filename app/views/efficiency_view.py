"""The Efficiency page's summary, and one model's panels: counted FLOPs, KV memory, speed, quality and training.

The first three are never combined: fewer FLOPs, fewer bytes and fewer seconds are three claims.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
import streamlit as st

from app.charts import costs as costs_charts
from app.frame import messages, page_parts
from app.runs import resources
from app.tables import costs, efficiency_summary, result_files
from app.tables.cache_capacity import DTYPES
from app.tables.result_files import ResultError
from app.text.words import say
from mor_core.checkpoints.checkpoint import CheckpointError, CheckpointInfo
from mor_core.model.router_types import router_traits
from mor_core.traces.trace import Trace

if TYPE_CHECKING:
    from mor_core.model.config import MoRConfig

MODEL, PEERS, FAMILY, PAPER = PARTS = "model", "peers", "family", "paper"
CURVES = {
    # curve: its columns, each with its name in the legend
    "loss": {
        "loss_lm": "line_training",
        "validation_nll_causal_nats_per_token": "line_validation_causal",
        "validation_nll_top_k_nats_per_token": "line_validation_top_k",
    },
    "agreement": {f"routing_accuracy_{number}": "line_recursion" for number in range(1, 6)},
    "speed": {"tokens_per_s": "line_training"},
    "rate": {"learning_rate": "line_rate"},
    "memory": {"peak_memory_mib": "line_peak"},
}


@dataclass(frozen=True)
class Measured:
    """The measured depths from which this page counts FLOPs and bytes.

    Attributes:
        shares: share of tokens that take recursion 1, 2, ...
        source: a sentence that states where they were measured.
    """

    shares: list[float]
    source: str


def measured_depths(info: CheckpointInfo, traces: Sequence[Trace]) -> Measured | None:
    """Return the depths under the causal rule from the evaluation, else from recorded runs; `None` without either."""
    if not router_traits(info.config).has_router:
        recursions = int(info.config.get("num_recursions", 1))
        return Measured([1.0] * recursions, say("efficiency.depths_no_router"))
    evaluated = result_files.causal_result(info.evaluation)
    if evaluated is not None:
        count = sum(evaluated["depth_histogram"])
        name = info.evaluation.get("text", "evaluation.json")
        text = say("efficiency.depths_evaluated", count=f"{count:,}", text=name)
        return Measured(costs.active_shares(evaluated["depth_histogram"]), text)
    causal = [
        trace for trace in traces if trace.header.routing.get("name") in result_files.CAUSAL_RULES
    ]
    depths = result_files.traced_depths(causal)
    if not sum(depths):
        return None
    text = say("efficiency.depths_recorded", runs=len(causal), count=f"{sum(depths):,}")
    return Measured(costs.active_shares(depths), text)


def summary_row(
    info: CheckpointInfo,
    depths: Measured | None,
    calls: pd.DataFrame,
    family: Mapping[str, Any],
) -> None:
    """Draw the efficiency summary of a model with a router; a model without a router has none.

    Args:
        info: the checkpoint.
        depths: its measured depths, if known.
        calls: the table of `app.tables.result_files.decode_table`.
        family: content of the family file; empty if there is none.
    """
    if depths is None or not router_traits(info.config).has_router:
        return
    try:
        config = resources.read_config(info)
    except CheckpointError:
        return  # the panels below show the problem
    page_parts.heading(say("efficiency_summary.heading"))
    found = efficiency_summary.answers(info.name, config, depths.shares, calls, family)
    for column, answer in zip(st.columns(len(found)), found, strict=True):
        column.metric(answer.question, answer.value, help=messages.as_text(answer.how), border=True)


def choose_part() -> str:
    """Let the viewer choose one of the page's parts; return it."""
    part = st.segmented_control(
        say("efficiency_summary.part"),
        list(PARTS),
        format_func=lambda name: say(f"efficiency_summary.part_{name}"),
        default=MODEL,
        required=True,
        key="part",
        bind="query-params",
        label_visibility="collapsed",
    )
    return part or MODEL


def model_panels(
    info: CheckpointInfo, depths: Measured | None, calls: pd.DataFrame, traces: Sequence[Trace]
) -> None:
    """Draw one model's cost, speed, quality and training."""
    if depths is None:
        messages.show_info(say("efficiency.no_depths", name=info.name))
    else:
        counted_panels(info, depths)
    speed_panel(calls, traces, int(info.config.get("num_recursions", 1)))
    quality_panel(info)
    training_panel(info)


def counted_panels(info: CheckpointInfo, depths: Measured) -> None:
    """Draw the two panels that are counted from the configuration and the measured depths."""
    try:
        config = resources.read_config(info)
    except CheckpointError as error:
        messages.show_problem(error)
        return
    flops_panel(config, depths)
    kv_panel(config, depths)


def flops_panel(config: "MoRConfig", depths: Measured) -> None:
    """Draw the counted FLOPs."""
    page_parts.heading(
        say("efficiency.flops_heading"), "active FLOPs", "full depth", "plain Transformer"
    )
    longest = config.max_position_embeddings
    length = say("efficiency.flops_length")
    tokens = st.slider(length, 1, longest, longest, key="efficiency_length")
    table = costs.flops_table(config, tokens, depths.shares)
    chart = costs_charts.flops_bars(table, config.num_recursions, tokens)
    page_parts.show_chart(chart, key="flops", caption=depths.source)
    with st.expander(say("efficiency.flops_how"), icon=":material/function:"):
        st.markdown(say("efficiency.flops_formula"))


def kv_panel(config: "MoRConfig", depths: Measured) -> None:
    """Draw the counted KV cache bytes."""
    page_parts.heading(say("efficiency.kv_heading"), "KV cache", "plain Transformer")
    dtype = st.segmented_control(
        say("efficiency.kv_dtype"),
        list(DTYPES),
        default="bfloat16",
        required=True,
        key="efficiency_dtype",
    )
    longest = config.max_position_embeddings
    lengths = sorted({round(longest * step / 16) for step in range(17)})
    table = costs.kv_table(config, lengths, depths.shares, DTYPES[dtype or "bfloat16"])
    page_parts.show_chart(
        costs_charts.kv_lines(table), key="kv", caption=say("efficiency.kv_formula")
    )


def speed_panel(calls: pd.DataFrame, traces: Sequence[Trace], num_recursions: int) -> None:
    """Draw the measured latency and speed."""
    page_parts.heading(say("efficiency.speed_heading"), "prefill", "decode")
    if calls.empty:
        messages.show_info(say("efficiency.no_speed"))
        return
    machines = sorted(set(calls["device"] + ", " + calls["dtype"]))
    measured = say("efficiency.speed_measured_on", machines=messages.as_text("; ".join(machines)))
    st.caption(f"{say('efficiency.speed_note')} {measured}")
    page_parts.show_chart(costs_charts.latency_by_depth(calls, num_recursions), key="latency")
    page_parts.show_table(result_files.speed_table(traces), key="speed")


def quality_panel(info: CheckpointInfo) -> None:
    """Draw the loss under each routing rule."""
    page_parts.heading(say("efficiency.quality_heading"), "bits per byte", "perplexity", "gate")
    try:
        table = result_files.evaluation_table(info.evaluation)
    except ResultError as error:
        messages.show_problem(error, info.name)
        return
    if table.empty:
        messages.show_info(say("efficiency.no_evaluation", name=info.name))
        return
    if info.evaluation.get("checkpoint_sha256", info.sha256) != info.sha256:
        messages.show_warning(say("efficiency.stale_evaluation", name=info.name))
    page_parts.show_chart(
        costs_charts.quality_points(table), key="quality", caption=say("efficiency.quality_note")
    )


def training_panel(info: CheckpointInfo) -> None:
    """Draw the training log."""
    page_parts.heading(say("efficiency.training_heading"))
    try:
        table = result_files.training_table(info.path / "train_log.jsonl")
    except (ResultError, OSError) as error:
        messages.show_problem(error, info.name)
        return
    if table.empty:
        messages.show_info(say("efficiency.no_training_log"))
        return
    if "peak_memory_bytes" in table:
        table["peak_memory_mib"] = table["peak_memory_bytes"] / 2**20
    curve = st.segmented_control(
        say("efficiency.training_curve"),
        list(CURVES),
        format_func=lambda name: say(f"efficiency.curve_{name}"),
        default="loss",
        required=True,
        key="efficiency_curve",
    )
    columns = {
        column: say(f"efficiency.{name}", number=number)
        for number, (column, name) in enumerate(CURVES[curve or "loss"].items(), start=1)
    }
    unit = say(f"efficiency.unit_{curve or 'loss'}")
    page_parts.show_chart(costs_charts.training_curve(table, columns, unit), key="training")
