"""Two runs in one browser component: laid under each other once finished, or growing side by side.

Shares words, numbers and the reading of events with the token strip; token text only ever becomes `textContent`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.components.component_assets import ServedComponent
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


def _component(name: str) -> ServedComponent:
    """Return one of the folder's two; they say the strip's words too."""
    return ServedComponent(
        name,
        html=_read(f"{name}.html"),
        css=_read("pair.css"),
        js=script(_FOLDER / f"{name}.js", words("pair")),
    )


_pair, _race = _component("pair"), _component("race")


@dataclass(frozen=True)
class Lane:
    """One run of a race, as the browser is to read it.

    Attributes:
        run: its id.
        name: as plain text.
        stream: path of the event route, where the browser can reach it.
        batch: events to hand over with this rerun, where it cannot.
    """

    run: str
    name: str
    stream: str | None = None
    batch: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class RaceState:
    """What the browser reports of a race.

    Attributes:
        unreachable: the event route does not answer this browser; send batches instead.
    """

    unreachable: bool


def draw_pair(comparison: Comparison, names: tuple[str, str], badge: Badge, *, key: str) -> None:
    """Draw two finished runs under each other, with the difference of each piece.

    Args:
        comparison: of the two runs.
        names: of the runs, as plain text.
        badge: whether the runs were computed for this viewer just now.
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
    """Draw two runs that are generated at the same time, or were.

    Args:
        lanes: A and B.
        scale: scale of depth, the same for both.
        badge: whether the runs were computed for this viewer just now.
        key: the element's key.
        live: tell when both are over.
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
    """Declare a state key; the value is read from the result."""


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
    """Say in one line where a run comes from, beside its name."""
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
