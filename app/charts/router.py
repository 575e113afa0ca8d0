"""Charts of the routers' decisions: the distribution of scores around the threshold, and the threshold sweep.

Pure: tables of `app.tables.router_tables` and `app.tables.router_results` in, charts out.
"""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from app.charts.figure import Chart, interval, new_figure, rows_height
from app.style.theme import LINE, SCORE_HIGH, SCORE_LOW, SERIES, format_flops
from app.tables.router_tables import close_calls
from app.text.words import say
from mor_core.common.logistic import sigmoid

_BIN = 0.5  # width of a bar in logits
_CHOICE_BIN = 0.05  # width of a bar in scores between 0 and 1
_EDGE = 12.0  # the outermost bars include all logits beyond: sigmoid(12) is 0.999994
_TICKS = (-12, -6, 0, 6, 12)  # more would not fit a phone


def score_distributions(
    table: pd.DataFrame, recursions: int, *, chooses_depth: bool = False
) -> Chart:
    """Draw histograms of the scores, one row per recursion, with entered and left-out tokens apart.

    Args:
        table: from `score_table`.
        recursions: R.
        chooses_depth: whether the rows are depths of a token-choice router; the x-axis then shows scores, not logits.
    """
    figure = make_subplots(
        rows=recursions,
        cols=1,
        shared_xaxes=True,
        vertical_spacing=0.06,
        figure=new_figure(rows_height(recursions, row=120, extra=110), barmode="stack", bargap=0),
    )
    counted = []
    for number in range(1, recursions + 1):
        rows = table[table["recursion"] == number]
        counts = _counts(rows, chooses_depth=chooses_depth)
        counted.append(counts.assign(recursion=number))
        _add_bars(figure, counts, number, chooses_depth=chooses_depth)
        limits = rows["threshold_logit"].dropna().unique()
        for limit in limits:
            line = {"color": LINE, "width": 2, "dash": "dash"}
            figure.add_vline(x=limit, line=line, row=number, col=1)
        name = "router.depth_row" if chooses_depth else "router.recursion_row"
        figure.update_yaxes(title_text=say(name, number=number), row=number, col=1, nticks=4)
    if chooses_depth:
        figure.update_xaxes(range=[0, 1])
        figure.update_xaxes(title_text=say("router.axis_score"), row=recursions, col=1)
    else:
        names = [_tick(tick) for tick in _TICKS]
        figure.update_xaxes(
            tickvals=_TICKS, ticktext=names, tickangle=0, range=[-_EDGE - 1, _EDGE + 1]
        )
        figure.update_xaxes(title_text=say("router.axis_logit"), row=recursions, col=1)
    figure.update_layout(showlegend=True)
    finding = choice_finding(table) if chooses_depth else _distribution_finding(table, recursions)
    return Chart(figure, finding, pd.concat(counted, ignore_index=True))


def sweep(table: pd.DataFrame) -> Chart:
    """Draw loss and compute against the threshold, one above the other.

    Args:
        table: from `router_results.sweep_table`; not empty.
    """
    figure = make_subplots(
        rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.08, figure=new_figure(470)
    )
    scores = [f"{sigmoid(logit):.3f}" for logit in table["threshold_logit"]]
    looks = {"mode": "lines+markers", "marker": {"size": 8}, "showlegend": False}
    figure.add_scatter(
        x=table["threshold_logit"],
        y=table["nll"],
        error_y=interval(
            table["nll"], table["nll_low"], table["nll_high"], color=LINE, thickness=1
        ),
        customdata=scores,
        hovertemplate=say("router.sweep_hover_loss") + "<extra></extra>",
        line={"color": SERIES[0]},
        row=1,
        col=1,
        **looks,
    )
    figure.add_scatter(
        x=table["threshold_logit"],
        y=table["active_flops_per_token"] / 1e6,
        customdata=table["mean_depth"],
        hovertemplate=say("router.sweep_hover_flops") + "<extra></extra>",
        line={"color": SERIES[1]},
        row=2,
        col=1,
        **looks,
    )
    for row in (1, 2):
        figure.add_vline(x=0, line={"color": LINE, "width": 2, "dash": "dash"}, row=row, col=1)
    ticks = sorted({table["threshold_logit"].min(), -3, 0, 3, table["threshold_logit"].max()})
    figure.update_xaxes(tickvals=ticks, ticktext=[_tick(tick) for tick in ticks], tickangle=0)
    figure.update_xaxes(title_text=say("router.axis_threshold"), row=2, col=1)
    figure.update_yaxes(title_text=say("efficiency.axis_nll"), row=1, col=1)
    figure.update_yaxes(
        title_text=say("efficiency.axis_active_mflops"), rangemode="tozero", row=2, col=1
    )
    return Chart(figure, _sweep_finding(table), table)


def _counts(rows: pd.DataFrame, *, chooses_depth: bool) -> pd.DataFrame:
    """Return one row per bar of the histogram: `from`, `to`, and the counts `entered` and `left_out`."""
    if chooses_depth:
        edges, values = np.arange(0, 1 + _CHOICE_BIN / 2, _CHOICE_BIN), rows["score"].clip(0, 1)
    else:
        edges = np.arange(-_EDGE, _EDGE + _BIN / 2, _BIN)
        values = rows["logit"].clip(-_EDGE, _EDGE)
    entered, left_out = (
        np.histogram(values[rows["entered"] == went], edges)[0] for went in (True, False)
    )
    return pd.DataFrame(
        {"from": edges[:-1], "to": edges[1:], "entered": entered, "left_out": left_out}
    )


def _add_bars(figure: go.Figure, counts: pd.DataFrame, number: int, *, chooses_depth: bool) -> None:
    words = (
        ("router.chosen", "router.not_chosen")
        if chooses_depth
        else ("router.entered", "router.left_out")
    )
    looks = [("left_out", words[1], SCORE_LOW, "/"), ("entered", words[0], SCORE_HIGH, "")]
    for column, word, colour, pattern in looks:
        figure.add_bar(
            x=(counts["from"] + counts["to"]) / 2,
            y=counts[column],
            width=counts["to"] - counts["from"],
            name=say(word),
            legendgroup=column,
            showlegend=number == 1,
            marker={"color": colour, "line": {"width": 0}, "pattern": {"shape": pattern}},
            customdata=counts[["from", "to"]],
            hovertemplate=say("router.bar_hover", name=say(word)) + "<extra></extra>",
            row=number,
            col=1,
        )


def _distribution_finding(table: pd.DataFrame, recursions: int) -> str:
    parts = []
    for number in range(1, recursions + 1):
        rows = table[table["recursion"] == number]
        if rows.empty:
            continue
        values = {
            "number": number,
            "entered": f"{int(rows['entered'].sum()):,}",
            "scored": f"{len(rows):,}",
            "share": f"{rows['entered'].mean():.0%}",
        }
        if rows["threshold_logit"].isna().all():
            parts.append(say("router.finding_no_threshold", **values))
        else:
            parts.append(say("router.finding_recursion", close=close_calls(rows), **values))
    if not parts:
        return say("router.nothing_scored")
    text = say("router.distribution_finding", parts=say("router.joined").join(parts))
    return text[0].upper() + text[1:]


def choice_finding(table: pd.DataFrame) -> str:
    """State how often a token-choice router chose each depth, and with what score."""
    taken = table[table["entered"]]
    if taken.empty:
        return say("router.nothing_scored")
    shares = taken["recursion"].value_counts(normalize=True).sort_index()
    return say(
        "router.choice_finding",
        tokens=f"{len(taken):,}",
        shares=say("charts.list_separator").join(
            say("router.choice_share", depth=depth, share=f"{share:.0%}")
            for depth, share in shares.items()
        ),
        score=f"{taken['score'].mean():.2f}",
    )


def _sweep_finding(table: pd.DataFrame) -> str:
    best = table.loc[table["nll"].idxmin()]
    flops = table["active_flops_per_token"]
    return say(
        "router.sweep_finding",
        low=f"{table['threshold_logit'].min():+g}",
        high=f"{table['threshold_logit'].max():+g}",
        most=format_flops(flops.max()),
        least=format_flops(flops.min()),
        best_nll=f"{best['nll']:.4f}",
        best=f"{best['threshold_logit']:+g}",
        worst_nll=f"{table['nll'].max():.4f}",
        worst=f"{table.loc[table['nll'].idxmax(), 'threshold_logit']:+g}",
        own=_own_loss(table),
    )


def _own_loss(table: pd.DataFrame) -> str:
    own = table[table["threshold_logit"] == 0]
    return say("router.sweep_own", nll=f"{own.iloc[0]['nll']:.4f}") if len(own) else ""


def _tick(logit: float) -> str:
    """Return the label of a tick: a logit with its score below."""
    score = sigmoid(logit)
    if not 0.001 <= score <= 0.999:
        return f"{logit:+g}<br>{'<0.001' if score < 0.5 else '>0.999'}".replace("<0", "&lt;0")
    return f"{logit:+g}<br>{score:.3f}" if logit else "0<br>0.5"
