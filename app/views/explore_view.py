"""The Explore page's views of one run: depth distribution, early exits, heatmaps, and the table."""

import streamlit as st

from app.charts import depth as depth_charts
from app.charts import depth_grid, run_heatmaps
from app.charts import exits as exits_charts
from app.components.strip import StripState
from app.frame import messages, page_parts
from app.runs import session
from app.tables import trace_tables
from app.tables.run_findings import depth_finding
from app.text.words import say
from mor_core.traces.thresholds import threshold_logits
from mor_core.traces.token_class import CLASSES
from mor_core.traces.trace import Trace

DISTRIBUTION, EXITS, HEATMAPS, TABLE = VIEWS = "distribution", "exits", "heatmaps", "table"
MAX_WINDOW = 256
_GRID = "depth_grid"
RANGES = 12  # the approximate number of position ranges


def clicked_position() -> int | None:
    """Return the position of the cell that the reader clicked in the grid of depths."""
    return session.selected_position(_GRID, depth_grid.PIN)


def draw(trace: Trace, strip: StripState) -> None:
    """Draw the chosen view.

    Args:
        trace: the run.
        strip: the strip's state, with the pinned token and the window of positions.
    """
    pinned = strip.pin
    with st.container(horizontal=True, horizontal_alignment="distribute"):
        view = st.segmented_control(
            say("explore.view"),
            list(VIEWS),
            format_func=lambda name: say(f"explore.view_{name}"),
            default=DISTRIBUTION,
            required=True,
            key="explore_view",
            persist_state="session",
            label_visibility="collapsed",
        )
        messages.trace_download(trace, key="explore_download")
    if view == HEATMAPS:
        _heatmaps(trace, pinned, strip.view.window if strip.view else None)
    elif view == EXITS:
        _exits(trace)
    elif view == TABLE:
        _table(trace, pinned)
    else:
        _distribution(trace)


def _distribution(trace: Trace) -> None:
    recursions = trace.header.num_recursions
    page_parts.heading(
        say("explore.depth_heading"), "recursion depth", "content token", "prefill", "decode"
    )
    table = trace_tables.shares_by_phase(trace)
    finding = depth_charts.phase_finding(table, recursions)
    if table.empty:
        messages.show_info(finding)
        return
    page_parts.show_chart(depth_charts.share_bars(table, recursions, finding), key="depth_by_phase")

    page_parts.heading(say("explore.class_heading"))
    of_next = st.toggle(
        say("explore.of_next"), key="explore_of_next", help=say("explore.of_next_help")
    )
    table = trace_tables.shares_by_class(trace, of_next=of_next)
    finding = depth_charts.class_finding(table)
    chart = depth_charts.share_bars(table, recursions, finding)
    caption = f"{say('explore.not_difficulty')} {say('explore.token_classes')}"
    page_parts.show_chart(chart, key="depth_by_class", caption=caption)

    page_parts.heading(say("explore.position_heading"))
    table = trace_tables.shares_by_position(trace, _range_width(len(trace.tokens)))
    finding = depth_charts.position_finding(table)
    page_parts.show_chart(
        depth_charts.share_columns(table, recursions, finding), key="depth_by_position"
    )


def _exits(trace: Trace) -> None:
    page_parts.heading(say("explore.exits_heading"), "recursion depth")
    chart = exits_charts.prediction_against_router(trace)
    if chart is None:
        messages.show_info(say("charts.exits_none"))
        return
    page_parts.show_chart(chart, key="exits", caption=say("charts.exits_caveat"))


def _heatmaps(trace: Trace, pinned: int | None, shown: tuple[int, int] | None) -> None:
    window = _window(len(trace.tokens), shown)
    if len(window) < len(trace.tokens):
        st.caption(
            say("explore.window", first=window.start, last=window.stop - 1, total=len(trace.tokens))
        )
    page_parts.heading(say("explore.recursion_depth"), "recursion depth", "recursion")
    recursions = trace.header.num_recursions
    table = trace_tables.depth_table(trace, window)
    boundaries = trace_tables.boundaries(trace, window)
    chart = depth_grid.depth_grid(table, recursions, depth_finding(trace), boundaries, pinned)
    page_parts.show_chart(chart, key=_GRID)
    page_parts.heading(say("explore.router_score"), "router", "router score", "causal rule")
    page_parts.show_chart(
        run_heatmaps.score_heatmap(trace, window, pinned),
        key="score_heatmap",
        caption=say("explore.score_scale"),
    )
    page_parts.heading(say("explore.kv_cache"), "KV cache")
    page_parts.show_chart(run_heatmaps.cache_heatmap(trace, window, pinned), key="cache_heatmap")


def _table(trace: Trace, pinned: int | None) -> None:
    if pinned is not None and pinned < len(trace.tokens):
        token = trace.tokens[pinned]
        page_parts.heading(
            say(
                "explore.pinned", token=messages.as_text(trace_tables.label(token)), position=pinned
            ),
            "router score",
            "KV cache",
        )
        page_parts.show_table(
            trace_tables.pinned_table(trace, pinned, threshold_logits(trace.header)),
            key="pinned_token",
        )
    page_parts.heading(say("explore.all_tokens"), "recursion depth", "router score")
    table = trace_tables.token_table(trace)
    left, middle, right = st.columns(3)
    present = set(table["token_class"])
    depths = left.multiselect(
        say("explore.filter_depth"),
        list(range(1, trace.header.num_recursions + 1)),
        key="explore_depths",
    )
    classes = middle.multiselect(
        say("explore.filter_class"),
        [name for name in CLASSES if name in present],
        format_func=trace_tables.class_label,
        key="explore_classes",
    )
    phases = right.multiselect(
        say("explore.filter_phase"),
        sorted(set(table["phase"])),
        format_func=lambda name: say(f"strip.phase_{name}"),
        key="explore_phases",
    )
    for column, wanted in (
        ("recursion_depth", depths),
        ("token_class", classes),
        ("phase", phases),
    ):
        if wanted:
            table = table[table[column].isin(wanted)]
    st.caption(say("explore.filtered", shown=f"{len(table):,}", total=f"{len(trace.tokens):,}"))
    page_parts.show_table(table, key="tokens", height=460)


def _window(num_tokens: int, shown: tuple[int, int] | None) -> range:
    """Return the positions to draw: all, or for a long run the window that the strip shows."""
    if num_tokens <= page_parts.WINDOW and shown is None:
        return range(num_tokens)
    start, end = shown or (0, page_parts.WINDOW)
    start = max(0, min(start, num_tokens - 1))
    return range(start, max(start + 1, min(end, start + MAX_WINDOW, num_tokens)))


def _range_width(num_tokens: int) -> int:
    """Return the width of a range: the power of two that gives about `RANGES` ranges."""
    width = 8
    while num_tokens / width > RANGES:
        width *= 2
    return width
