"""The token strip: one component that draws a run, live or finished, and reports which token is pinned.

Text, heatmaps, counters and inspector are one browser component, so that a growing run needs no rerun of the page. Its
modules are in `mor_core.page`; they write token text only as `textContent`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from app.components.component_assets import AssetComponent
from app.components.view_state import ViewState, view_of
from app.runs import session
from app.style.palettes import MAX_LEVELS, depth_colours
from app.tables.trace_tables import class_label
from app.text.hidden_words import hidden_words
from app.text.words import entries
from mor_core.page.strip_files import STRIP, PageWords, markup, script, style
from mor_core.server.jobs import Job
from mor_core.traces.events import recorded_batch, trace_id
from mor_core.traces.token_class import CLASSES, token_classes
from mor_core.traces.trace import Trace

Badge = Literal["LIVE", "RECORDED"]


def words(*pages: str) -> PageWords:
    """Return the words of the browser modules in every language.

    Args:
        *pages: names of further word files besides the strip's, such as `pair`.
    """
    texts = {
        key.partition(".")[2]: found
        for key, found in entries().items()
        if key.partition(".")[0] in ("strip", *pages)
    }
    return PageWords(texts, hidden_words())


_mount = AssetComponent(
    "token_strip", html=markup(), css=style(), js=script(STRIP / "strip.js", words())
)


@dataclass(frozen=True)
class StripState:
    """The state of the strip that the browser reports.

    Attributes:
        pin: position of the pinned token.
        unreachable: whether the event route does not answer this browser, so that it needs batches instead.
        wants_run: whether a speaker just asked for a run with the slide clicker; true for one rerun.
        view: the view that the reader chose; `None` before the first choice, and without the tools.
    """

    pin: int | None
    unreachable: bool
    wants_run: bool
    view: ViewState | None = None


def token_strip(
    trace: Trace,
    *,
    key: str,
    badge: Badge = "RECORDED",
    view: ViewState | None = None,
    pin: int | None = None,
) -> StripState:
    """Draw a finished run.

    Args:
        trace: the run.
        key: the element's key, the same for every trace of a page.
        badge: `LIVE` if the run was computed for this viewer just now.
        view: the initial view. With one, the strip offers tools for metric, granularity, tokens and several pins.
        pin: position that a chart of the page asks to pin; applied once whenever it changes.
    """
    tools = None if view is None else _tools(trace, view) | {"pin": pin}
    data = {"batch": recorded_batch(trace), "stream": None, "live": False, "badge": badge}
    return _draw(trace_id(trace), key, {**data, "tools": tools})


def live_strip(
    job: Job, *, key: str, stream: str | None = None, batch: Mapping[str, Any] | None = None
) -> StripState:
    """Draw a job while it runs.

    Args:
        job: the run.
        key: the element's key.
        stream: path of the event route, if the browser can reach it.
        batch: events to send with this rerun, if it cannot.
    """
    return _draw(job.id, key, {"batch": batch, "stream": stream, "live": True, "badge": "LIVE"})


def _tools(trace: Trace, view: ViewState) -> dict[str, Any]:
    """Return the tools' data besides the run: the class of each token, and the initial view."""
    numbers = {name: number for number, name in enumerate(CLASSES)}
    return {
        "view": asdict(view),
        "class_labels": [class_label(name) for name in CLASSES],
        "classes": [numbers[name] for name in token_classes(trace.tokens)],
    }


def depth_scales() -> dict[int, list[str]]:
    """Return the viewer's depth colours for each number of levels."""
    return {levels: depth_colours(levels) for levels in range(1, MAX_LEVELS + 1)}


def _draw(run_id: str, key: str, data: dict[str, Any]) -> StripState:
    result = _mount(
        key=key,
        data={
            "run": run_id,
            "language": session.language(),
            "present": session.is_presenting(),
            "colours": depth_scales(),
            **data,
        },
        on_pin_change=_ignore,
        on_unreachable_change=_ignore,
        on_asks_change=_ignore,
        on_finished_change=_ignore,
        on_view_change=_ignore,
        on_wants_run_change=_ignore,
    )
    pin = result.pin if isinstance(result.pin, Mapping) and result.pin.get("run") == run_id else {}
    chosen = result.view if isinstance(result.view, Mapping) else {}
    return StripState(
        pin=pin.get("position"),
        unreachable=result.unreachable == run_id,
        wants_run=result.wants_run is True,
        view=view_of(chosen) if chosen.get("run") == run_id else None,
    )


def _ignore() -> None:
    """Declare a state key to Streamlit; its value is read from the component's result."""
