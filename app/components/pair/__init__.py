"""Browser components of two runs: finished runs one below the other, and a race of two growing runs side by side.

They share words, number formats and event handling with the token strip, and write token text only as `textContent`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.components.component_assets import AssetComponent
from app.components.strip import Badge, words
from app.runs import session
from app.tables.comparison import SIDES, Comparison, Side
from app.tables.depth_scale import Scale
from app.text.display_names import run_title
from app.text.words import say
from mor_core.page.strip_files import script
from mor_core.traces.events import trace_id
from mor_core.traces.trace import TokenRecord, Trace

_FOLDER = Path(__file__).parent


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _component(name: str) -> AssetComponent:
    """Return one of this folder's components; both also use the strip's words."""
    return AssetComponent(
        name,
        html=_read(f"{name}.html"),
        css=_read("pair.css"),
        js=script(_FOLDER / f"{name}.js", words("pair")),
    )


_pair, _race = _component("pair"), _component("race")


@dataclass(frozen=True)
class Lane:
    """One run of a race, as the browser receives it.

    Attributes:
        run: the run's id.
        name: the run's name as plain text.
        stream: path of the event route, if the browser can reach it.
        batch: events to send with this rerun, if it cannot.
    """

    run: str
    name: str
    stream: str | None = None
    batch: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class RaceState:
    """The state of a race that the browser reports.

    Attributes:
        unreachable: whether the event route does not answer this browser, so that it needs batches instead.
    """

    unreachable: bool


def draw_pair(comparison: Comparison, names: tuple[str, str], badge: Badge, *, key: str) -> None:
    """Draw two finished runs one below the other, with the difference of each piece.

    Args:
        comparison: the two aligned runs.
        names: the runs' names as plain text.
        badge: `LIVE` if the runs were computed for this viewer just now.
        key: the element's key.
    """
    runs, scale = comparison.runs, comparison.scale
    _pair(
        key=key,
        data={
            "pair": "-".join([*map(trace_id, runs), *names]),
            "language": session.language(),
            "present": session.is_presenting(),
            "badge": badge,
            **_scale(scale),
            "sides": [_side(comparison, side, names[side]) for side in SIDES],
            "pieces": [
                [piece.first.start, piece.first.stop, piece.second.start, piece.second.stop, spent]
                for piece, spent in zip(
                    comparison.alignment.pieces, comparison.differences, strict=True
                )
            ],
            "diverges": comparison.alignment.diverges,
        },
    )


def draw_race(
    lanes: tuple[Lane, Lane], scale: Scale, badge: Badge, *, key: str, live: bool
) -> RaceState:
    """Draw two runs that are, or were, generated at the same time.

    Args:
        lanes: the runs A and B.
        scale: scale of depth, the same for both.
        badge: `LIVE` if the runs are computed for this viewer just now.
        key: the element's key.
        live: whether the browser reports when both runs are over.
    """
    race = f"{lanes[0].run}+{lanes[1].run}"
    result = _race(
        key=key,
        data={
            "race": race,
            "language": session.language(),
            "present": session.is_presenting(),
            "badge": badge,
            "live": live,
            **_scale(scale),
            "lanes": [
                {**vars(lane), "values": values}
                for lane, values in zip(lanes, scale.values, strict=True)
            ],
        },
        on_finished_change=_ignore,
        on_unreachable_change=_ignore,
        on_asks_change=_ignore,
    )
    return RaceState(
        unreachable=result.unreachable == race,
    )


def _ignore() -> None:
    """Declare a state key to Streamlit; its value is read from the component's result."""


def _side(comparison: Comparison, side: Side, name: str) -> dict[str, Any]:
    run = comparison.runs[side]
    return {
        "name": name,
        "about": about(run),
        "rest": comparison.alignment.rest[side],
        "recursions": run.header.num_recursions,
        "tokens": [_token(token, comparison.scale.values[side]) for token in run.tokens],
    }


def about(run: Trace) -> str:
    """Return a line on a run's origin, shown beside its name: title, seed, device and weights."""
    header = run.header
    seed = header.sampling.get("seed")
    parts = [
        run_title(header.title),
        "" if seed is None else say("strip.seed", seed=seed),
        f"{header.device}, {header.dtype}",
        say("strip.weights", sha=header.checkpoint_sha256[:8]),
    ]
    return " · ".join(part for part in parts if part)


def _token(token: TokenRecord, values: tuple[int, ...]) -> dict[str, Any]:
    depth = token.recursion_depth
    return {
        "position": token.position,
        "text": token.text,
        "token_bytes": token.token_bytes,
        "special": token.special,
        "phase": token.phase,
        "depth": depth,
        "value": None if depth is None else values[depth],
        "log_probability": token.log_probability,
    }


def _scale(scale: Scale) -> dict[str, Any]:
    colours = {str(value): colour for value, colour in sorted(scale.colours.items())}
    return {"unit": scale.unit, "span": scale.span, "colours": colours}
