"""Chart of a moved threshold over a run's router scores: which decisions would flip.

Pure: tables of `app.tables.router_tables` in, a chart out.
"""

from app.charts.figure import Chart, hover_text, new_figure
from app.style.theme import LINE, SCORE_HIGH, SCORE_LOW, SERIES
from app.tables.router_tables import (
    CHANGES,
    STAYS_IN,
    STAYS_OUT,
    WOULD_ENTER,
    WOULD_LEAVE,
    MovedThreshold,
)
from app.text.words import say
from mor_core.common.logistic import sigmoid

_LOOKS = {
    # change: colour, symbol (filled: enters; open: stays out)
    STAYS_IN: (SCORE_HIGH, "circle"),
    STAYS_OUT: (SCORE_LOW, "circle-open"),
    WOULD_ENTER: (SERIES[2], "triangle-up"),
    WOULD_LEAVE: (SERIES[3], "triangle-down"),
}
_MAX_NAMED = 30  # more names would cover each other


def moved_threshold(
    moved: MovedThreshold, recursion: int, trained_logit: float, num_tokens: int
) -> Chart:
    """Draw each candidate of one recursion at its position and logit, by what the moved threshold changes.

    Args:
        moved: from `move_threshold`.
        recursion: 1-based recursion of the candidates.
        trained_logit: the threshold that decided in the run.
        num_tokens: length of the run, so that the axis also shows the positions that were not scored.
    """
    figure = new_figure(400)
    flipped = moved.count(WOULD_ENTER) + moved.count(WOULD_LEAVE)
    for change in CHANGES:
        colour, symbol = _LOOKS[change]
        rows = moved.rows[moved.rows["change"] == change]
        is_named = change in (WOULD_ENTER, WOULD_LEAVE) and flipped <= _MAX_NAMED
        tokens = [hover_text(token) for token in rows["token"]]
        figure.add_scatter(
            x=rows["position"],
            y=rows["logit"],
            mode="markers+text" if is_named else "markers",
            text=tokens,
            textposition="top center" if change == WOULD_ENTER else "bottom center",
            name=f"{_change(change)} ({len(rows)})",
            marker={"color": colour, "symbol": symbol, "size": 10 if "would" in change else 7},
            customdata=[
                [token, f"{score:.3f}"] for token, score in zip(tokens, rows["score"], strict=True)
            ],
            hovertemplate=say("router.moved_hover", change=_change(change)) + "<extra></extra>",
            cliponaxis=False,
        )
    for limit, dash, name in (
        (trained_logit, "dash", say("router.line_run")),
        (moved.threshold_logit, "solid", say("router.line_moved")),
    ):
        figure.add_scatter(
            x=[-0.5, num_tokens - 0.5],
            y=[limit, limit],
            mode="lines",
            line={"color": LINE, "width": 2, "dash": dash},
            name=f"{name} {limit:+.2f}",
            hoverinfo="skip",
        )
    figure.update_xaxes(title_text=say("router.axis_position"), range=[-0.5, num_tokens - 0.5])
    figure.update_yaxes(title_text=say("router.axis_logit_plain"))
    finding = say(
        "router.moved_finding" if flipped else "router.unmoved_finding",
        recursion=recursion,
        logit=f"{moved.threshold_logit:+.2f}",
        score=f"{sigmoid(moved.threshold_logit):.3f}",
        flipped=flipped,
        scored=len(moved.rows),
        enter=moved.count(WOULD_ENTER),
        leave=moved.count(WOULD_LEAVE),
        before=f"{moved.share_before:.0%}",
        after=f"{moved.share_after:.0%}",
    )
    columns = ["position", "token", "recursion", "logit", "score", "entered", "change"]
    return Chart(figure, finding, moved.rows[columns])


def _change(change: str) -> str:
    return say(f"router.change_{change.replace(' ', '_')}")
