"""The Explore page's views of one run: where the depth went, heatmaps to zoom and keep, and the table."""

import streamlit as st

from app import charts, charts_depth, charts_exits, frame, notices, tables
from app.events import threshold_logits
from app.strip import StripState
from app.words import say
from mor_core.tokenclass import CLASSES
from mor_core.trace import Trace

DISTRIBUTION, EXITS, HEATMAPS, TABLE = VIEWS = "distribution", "exits", "heatmaps", "table"
WINDOW = (
    192  # columns of a heatmap before the strip says which: more would be narrower than five pixels
)
MAX_WINDOW = 256
RANGES = 12  # aim for about this many columns of positions


def draw(trace: Trace, drawn: StripState) -> None:
    """Draw the chosen view.

    Args:
        trace: the run.
        drawn: what the strip shows: the pinned token, and the window of positions.
    """
    pinned = drawn.pin
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
        notices.trace_download(trace, key="explore_download")
    if view == HEATMAPS:
        _heatmaps(trace, pinned, drawn.view.window if drawn.view else None)
    elif view == EXITS:
        _exits(trace)
    elif view == TABLE:
        _table(trace, pinned)
    else:
        _distribution(trace)


def _distribution(trace: Trace) -> None:
    recursions = trace.header.num_recursions
    frame.heading(
        say("explore.depth_heading"), "recursion depth", "content token", "prefill", "decode"
    )
    table = tables.shares_by_phase(trace)
    finding = charts_depth.phase_finding(table, recursions)
    if table.empty:
        notices.show_info(finding)
        return
    frame.show_chart(charts_depth.share_bars(table, recursions, finding), key="depth_by_phase")

    frame.heading(say("explore.class_heading"))
    of_next = st.toggle(
        say("explore.of_next"), key="explore_of_next", help=say("explore.of_next_help")
    )
    table = tables.shares_by_class(trace, of_next=of_next)
    finding = charts_depth.class_finding(table)
    chart = charts_depth.share_bars(table, recursions, finding)
    caption = f"{say('explore.not_difficulty')} {say('explore.token_classes')}"
    frame.show_chart(chart, key="depth_by_class", caption=caption)

    frame.heading(say("explore.position_heading"))
    table = tables.shares_by_position(trace, _range_width(len(trace.tokens)))
    finding = charts_depth.position_finding(table)
    frame.show_chart(
        charts_depth.share_columns(table, recursions, finding), key="depth_by_position"
    )


def _exits(trace: Trace) -> None:
    frame.heading(say("explore.exits_heading"), "recursion depth")
    chart = charts_exits.prediction_against_router(trace)
    if chart is None:
        notices.show_info(say("charts.exits_none"))
        return
    frame.show_chart(chart, key="exits", caption=say("charts.exits_caveat"))


def _heatmaps(trace: Trace, pinned: int | None, shown: tuple[int, int] | None) -> None:
    window = _window(len(trace.tokens), shown)
    if len(window) < len(trace.tokens):
        st.caption(
            say("explore.window", first=window.start, last=window.stop - 1, total=len(trace.tokens))
        )
    frame.heading(say("explore.recursion_depth"), "recursion depth", "recursion")
    frame.show_chart(charts.depth_heatmap(trace, window, pinned), key="depth_heatmap")
    frame.heading(say("explore.router_score"), "router", "router score", "causal rule")
    frame.show_chart(
        charts.score_heatmap(trace, window, pinned),
        key="score_heatmap",
        caption=say("explore.score_scale"),
    )
    frame.heading(say("explore.kv_cache"), "KV cache")
    frame.show_chart(charts.cache_heatmap(trace, window, pinned), key="cache_heatmap")


def _table(trace: Trace, pinned: int | None) -> None:
    if pinned is not None and pinned < len(trace.tokens):
        token = trace.tokens[pinned]
        frame.heading(
            say("explore.pinned", token=notices.as_text(tables.label(token)), position=pinned),
            "router score",
            "KV cache",
        )
        frame.show_table(
            tables.pinned_table(trace, pinned, threshold_logits(trace.header)), key="pinned_token"
        )
    frame.heading(say("explore.all_tokens"), "recursion depth", "router score")
    table = tables.token_table(trace)
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
        format_func=tables.class_label,
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
    frame.show_table(table, key="tokens", height=460)


def _window(num_tokens: int, shown: tuple[int, int] | None) -> range:
    """Return the positions to draw: all, or of a long run the window that the strip shows."""
    if num_tokens <= WINDOW and shown is None:
        return range(num_tokens)
    start, end = shown or (0, WINDOW)
    start = max(0, min(start, num_tokens - 1))
    return range(start, max(start + 1, min(end, start + MAX_WINDOW, num_tokens)))


def _range_width(num_tokens: int) -> int:
    """Return the power of two that gives about `RANGES` ranges."""
    width = 8
    while num_tokens / width > RANGES:
        width *= 2
    return width
