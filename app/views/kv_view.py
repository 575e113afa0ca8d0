"""The KV cache page's panels: a run's cache entries, its growth, KV strategies, and what fits into a GPU."""

from typing import TYPE_CHECKING, cast

import streamlit as st

from app.charts import kv as kv_charts
from app.charts import memory as memory_charts
from app.frame import messages, page_parts
from app.runs import resources
from app.tables import cache_capacity, cache_tables
from app.tables.cache_capacity import DTYPES, SIZES, Load
from app.tables.router_tables import capacity_shares
from app.text.words import say
from mor_core.checkpoints.checkpoint import CheckpointError, CheckpointInfo
from mor_core.traces.trace import Trace

if TYPE_CHECKING:
    from mor_core.model.paper import PaperName

BY_SCHEDULE, BY_RUN = SHARES = "schedule", "run"
RECURSIONS = (2, 3, 4)
CONTEXTS = tuple(2**power for power in range(8, 18))
BATCHES = tuple(2**power for power in range(11))
MEMORIES_GIB = (4, 8, 12, 16, 24, 32, 40, 48, 64, 80, 96, 141, 192)
PAPER_CONTEXT = 2048


def occupancy_panel(trace: Trace) -> None:
    """Draw the tokens that each layer of each recursion keeps."""
    page_parts.heading(
        say("kv_cache.occupancy_heading"), "KV cache", "recursion", "recursive KV sharing"
    )
    window = page_parts.choose_window(len(trace.tokens), key="kv_window")
    chart = kv_charts.occupancy(trace, window)
    is_shared = any(row.is_shared for row in cache_tables.layer_rows(trace.header))
    caption = [say("kv_cache.shared_caption" if is_shared else "kv_cache.occupancy_caption")]
    if not trace.header.router.has_router:
        caption.insert(0, say("kv_cache.no_router", name=trace.header.checkpoint))
    page_parts.show_chart(chart, key="occupancy", caption=" ".join(caption))
    absent = cache_tables.often_absent(trace)
    if len(absent) and not is_shared:
        with st.expander(say("kv_cache.often_absent"), icon=":material/visibility_off:"):
            page_parts.show_table(absent, key="often_absent")


def growth_panel(trace: Trace) -> None:
    """Draw the bytes after each call of the model."""
    page_parts.heading(say("kv_cache.growth_heading"), "prefill", "decode", "plain Transformer")
    table = cache_tables.growth_table(trace)
    if table.empty:
        messages.show_info(say("kv_cache.no_growth"))
        return
    chart = kv_charts.growth(table, trace.header.num_recursions)
    page_parts.show_chart(chart, key="growth", caption=say("kv_cache.growth_caption"))


def strategies_panel(info: CheckpointInfo, trace: Trace) -> None:
    """Draw the bytes of the run's cache beside those of other KV strategies."""
    page_parts.heading(
        say("kv_cache.strategies_heading"), "recursion-wise caching", "recursive KV sharing"
    )
    try:
        config = resources.read_config(info)
    except CheckpointError as error:
        messages.show_problem(error)
        return
    table = cache_capacity.run_strategies(config, trace)
    caption = say("kv_cache.strategies_caption")
    page_parts.show_chart(kv_charts.strategies(table), key="strategies", caption=caption)


@st.fragment
def paper_panel(trace: Trace | None) -> None:
    """Draw the memory of the paper's models, and the batch and context that fit into a GPU."""
    page_parts.heading(
        say("kv_cache.paper_heading"), "recursion-wise caching", "recursive KV sharing"
    )
    load = _load(trace)
    chart = memory_charts.paper_bytes(cache_capacity.paper_table(load), load)
    shares = ", ".join(f"{share:.0%}" for share in load.shares)
    page_parts.show_chart(
        chart, key="paper_bytes", caption=say("kv_cache.paper_caption", shares=shares)
    )
    page_parts.heading(say("kv_cache.fit_heading"), "KV cache")
    left, right = st.columns(2, gap="large")
    gib = left.select_slider(
        say("kv_cache.gpu_memory"),
        MEMORIES_GIB,
        24,
        key="gpu",
        bind="query-params",
        format_func=lambda size: f"{size} GiB",
    )
    percent = right.slider(
        say("kv_cache.kept_free"),
        0,
        50,
        10,
        5,
        key="free",
        bind="query-params",
        format="%d%%",
        help=say("kv_cache.kept_free_help"),
    )
    usable = int(gib * 2**30 * (100 - percent) / 100)
    fit = cache_capacity.fit_table(load, usable)
    curve = cache_capacity.fit_curve(load, usable, CONTEXTS)
    chart = memory_charts.fit_lines(curve, fit, load, gib)
    caption = say("kv_cache.fit_caption", percent=percent, shares=shares, batch=f"{load.batch:,}")
    page_parts.show_chart(chart, key="fit", caption=caption)
    shown = fit.assign(strategy=[kv_charts.strategy_name(name) for name in fit["strategy"]])
    page_parts.show_table(shown, key="fits")


def _load(trace: Trace | None) -> Load:
    """Let the viewer choose the workload; return it."""
    columns = st.columns([1.5, 1, 1.3], vertical_alignment="bottom")
    size = columns[0].segmented_control(
        say("kv_cache.size"), SIZES, default="360M", required=True, key="size", bind="query-params"
    )
    recursions = columns[1].segmented_control(
        say("kv_cache.recursions"),
        RECURSIONS,
        default=3,
        required=True,
        key="recursions",
        bind="query-params",
    )
    dtype = columns[2].segmented_control(
        say("kv_cache.dtype"),
        list(DTYPES),
        default="bfloat16",
        required=True,
        key="dtype",
        bind="query-params",
    )
    left, middle, right = st.columns(3, vertical_alignment="bottom")
    context = left.select_slider(
        say("kv_cache.context"),
        CONTEXTS,
        PAPER_CONTEXT,
        key="context",
        bind="query-params",
        format_func=lambda length: f"{length:,}",
    )
    batch = middle.select_slider(
        say("kv_cache.batch"), BATCHES, 32, key="batch", bind="query-params"
    )
    number = recursions or 3
    with right:
        shares = _shares(trace, number)
    return Load(
        cast("PaperName", size or "360M"),
        number,
        context,
        batch,
        DTYPES[dtype or "bfloat16"],
        shares,
    )


def _shares(trace: Trace | None, recursions: int) -> tuple[float, ...]:
    """Let the viewer choose the trained capacities or the depths of the run; return the shares."""
    schedule = tuple(capacity_shares({"num_recursions": recursions}))
    fits = trace is not None and trace.header.num_recursions == recursions
    chosen = st.segmented_control(
        say("kv_cache.shares"),
        list(SHARES),
        format_func=lambda name: say(f"kv_cache.shares_{name}"),
        default=BY_SCHEDULE,
        required=True,
        key="shares",
        bind="query-params",
        help=say("kv_cache.shares_help"),
    )
    if chosen == BY_SCHEDULE:
        return schedule
    if trace is None or not fits:
        messages.show_warning(say("kv_cache.shares_differ", recursions=recursions))
        return schedule
    return tuple(cache_tables.kept_shares(trace))
