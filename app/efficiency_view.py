"""The Efficiency page's panels: counted FLOPs, KV memory, measured speed, quality and training.

The first three are never merged: fewer FLOPs, fewer bytes and fewer seconds are three claims.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

from app import charts_costs, costs, frame, loading, notices, results, wording
from app.results import ResultError
from mor_core.checkpoint import CheckpointError, CheckpointInfo
from mor_core.trace import Trace
from mor_core.tracefile import TraceError

if TYPE_CHECKING:
    from mor_core.config import MoRConfig

DTYPES = {"bfloat16": 2, "float32": 4}
CURVES = {
    "Loss": (
        {
            "loss_lm": "training",
            "validation_nll_causal_nats_per_token": "validation, causal rule",
            "validation_nll_top_k_nats_per_token": "validation, top-k rule",
        },
        "nats a token",
    ),
    "Router agreement": (
        {f"routing_accuracy_{index}": f"recursion {index}" for index in range(1, 6)},
        "share of candidates where score 0.5 and top-k agree",
    ),
    "Speed": ({"tokens_per_s": "training"}, "tokens a second"),
    "Learning rate": ({"learning_rate": "learning rate"}, "learning rate"),
    "Memory": ({"peak_memory_mib": "peak of the process"}, "MiB"),
}


@dataclass(frozen=True)
class Measured:
    """The depths that the counts on this page start from.

    Attributes:
        shares: of tokens that take recursion 1, 2, ...
        source: where they were measured, as a sentence.
    """

    shares: list[float]
    source: str


def recorded(info: CheckpointInfo) -> list[Trace]:
    """Open a checkpoint's recorded runs; one that is damaged is named and left out."""
    traces = []
    for path in loading.recorded_traces(info.path):
        try:
            traces.append(loading.open_trace(path))
        except TraceError as error:
            notices.show_error(f"{path.name}: {error}")
    return traces


def measured_depths(info: CheckpointInfo, traces: Sequence[Trace]) -> Measured | None:
    """Return depths under the causal rule: of the evaluation, else of recorded runs with the trained threshold."""
    if info.config.get("router_type") == "none":
        recursions = int(info.config.get("num_recursions", 1))
        return Measured(
            [1.0] * recursions, "This model has no router: every token takes every recursion."
        )
    evaluated = results.causal_result(info.evaluation)
    if evaluated is not None:
        count = sum(evaluated["depth_histogram"])
        text = f"Shares of depth measured on {count:,} tokens of {info.evaluation.get('text', 'the evaluation text')}."
        return Measured(costs.active_shares(evaluated["depth_histogram"]), text)
    causal = [trace for trace in traces if trace.header.routing.get("name") in results.CAUSAL_RULES]
    depths = results.traced_depths(causal)
    if not sum(depths):
        return None
    text = f"Shares of depth measured in {len(causal)} recorded runs ({sum(depths):,} tokens); no evaluation yet."
    return Measured(costs.active_shares(depths), text)


def counted_panels(info: CheckpointInfo, depths: Measured) -> None:
    """Draw the two panels that follow from the configuration and the shares of depth."""
    try:
        config = loading.read_config(info)
    except CheckpointError as error:
        notices.show_error(str(error))
        return
    flops_panel(config, depths)
    kv_panel(config, depths)


def flops_panel(config: "MoRConfig", depths: Measured) -> None:
    """Draw panel 1."""
    frame.heading("1. Counted FLOPs", "active FLOPs", "full depth", "plain Transformer")
    longest = config.max_position_embeddings
    tokens = st.slider("Length of the text (tokens)", 1, longest, longest, key="efficiency_length")
    table = costs.flops_table(config, tokens, depths.shares)
    chart = charts_costs.flops_bars(table, config.num_recursions, tokens)
    frame.show_chart(chart, key="flops", caption=depths.source)
    with st.expander("How it is counted", icon=":material/function:"):
        st.markdown(wording.FLOPS_FORMULA)


def kv_panel(config: "MoRConfig", depths: Measured) -> None:
    """Draw panel 2."""
    frame.heading("2. KV memory", "KV cache", "plain Transformer")
    dtype = st.segmented_control(
        "Numbers", list(DTYPES), default="bfloat16", required=True, key="efficiency_dtype"
    )
    longest = config.max_position_embeddings
    lengths = sorted({round(longest * step / 16) for step in range(17)})
    table = costs.kv_table(config, lengths, depths.shares, DTYPES[dtype or "bfloat16"])
    frame.show_chart(charts_costs.kv_lines(table), key="kv", caption=wording.KV_FORMULA)


def speed_panel(traces: Sequence[Trace], num_recursions: int) -> None:
    """Draw panel 3."""
    frame.heading("3. Measured speed", "prefill", "decode")
    table = results.decode_table(traces)
    if table.empty:
        notices.show_info(wording.NO_SPEED)
        return
    places = sorted(set(table["device"] + ", " + table["dtype"]))
    st.caption(f"{wording.SPEED_NOTE} Measured on: {notices.as_text('; '.join(places))}.")
    frame.show_chart(charts_costs.latency_by_depth(table, num_recursions), key="latency")
    frame.show_table(results.speed_table(traces), key="speed")


def quality_panel(info: CheckpointInfo) -> None:
    """Draw what the predictions are worth under each routing rule."""
    frame.heading("Quality", "bits per byte", "perplexity", "gate")
    try:
        table = results.evaluation_table(info.evaluation)
    except ResultError as error:
        notices.show_error(f"{info.name}: {error}")
        return
    if table.empty:
        notices.show_info(wording.NO_EVALUATION.format(name=info.name))
        return
    if info.evaluation.get("checkpoint_sha256", info.sha256) != info.sha256:
        notices.show_warning(wording.STALE_EVALUATION.format(name=info.name))
    frame.show_chart(
        charts_costs.quality_points(table), key="quality", caption=wording.QUALITY_NOTE
    )


def training_panel(info: CheckpointInfo) -> None:
    """Draw the training log."""
    frame.heading("Training")
    try:
        table = results.training_table(info.path / "train_log.jsonl")
    except (ResultError, OSError) as error:
        notices.show_error(f"{info.name}: {error}")
        return
    if table.empty:
        notices.show_info(wording.NO_TRAINING_LOG)
        return
    if "peak_memory_bytes" in table:
        table["peak_memory_mib"] = table["peak_memory_bytes"] / 2**20
    curve = st.segmented_control(
        "Curve", list(CURVES), default="Loss", required=True, key="efficiency_curve"
    )
    columns, unit = CURVES[curve or "Loss"]
    frame.show_chart(charts_costs.training_curve(table, columns, unit), key="training")
