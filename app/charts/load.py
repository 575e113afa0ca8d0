"""Charts of the routers' agreement, entropy, load and reach: one bar per recursion or range of positions.

Pure: tables of `app.tables.router_results` in, charts out.
"""

import math

import pandas as pd
import plotly.graph_objects as go

from app.charts.figure import Chart, new_figure, rows_height
from app.style.theme import LINE, SERIES, depth_colours, text_on
from app.text.words import say


def agreement(table: pd.DataFrame) -> Chart:
    """Draw how often top-k and the threshold decide the same, one bar per recursion."""
    names = [say("router.recursion_row", number=number) for number in table["recursion"]]
    figure = new_figure(rows_height(len(table), row=36, extra=90))
    shares = [f"{share:.1%}" for share in table["value"]]
    _add_bars(figure, names, table["value"], shares)
    figure.update_xaxes(range=[0, 1], tickformat=".0%", title_text=say("router.axis_agreement"))
    parts = [
        say("router.agreement_part", number=number, share=share)
        for number, share in zip(table["recursion"], shares, strict=True)
    ]
    finding = say("router.agreement_finding", parts=say("router.joined").join(parts))
    return Chart(figure, finding, table.rename(columns={"value": "agreement"}))


def entropy(table: pd.DataFrame, *, num_choices: int = 2) -> Chart:
    """Draw the routers' mean entropy as a share of its maximum, one bar per recursion.

    Args:
        table: from `router_results.entropy_table`.
        num_choices: number of outcomes of a decision; R for token-choice, which decides once.
    """
    most = math.log(num_choices)
    single = len(table) == 1 and num_choices != 2
    names = [
        say("router.all_depths") if single else say("router.recursion_row", number=number)
        for number in table["recursion"]
    ]
    known = table["value"].notna()
    figure = new_figure(rows_height(len(table), row=36, extra=90))
    texts = [
        f"{value:.3f}" if is_known else ""
        for value, is_known in zip(table["value"], known, strict=True)
    ]
    _add_bars(figure, names, table["value"], texts)
    figure.add_vline(x=most, line={"color": LINE, "width": 2, "dash": "dash"})
    figure.update_xaxes(range=[0, most * 1.05], title_text=say("router.axis_entropy"))
    if not known.any():
        return Chart(figure, say("router.nothing_scored"), table)
    top = table.loc[table["value"].idxmax()]
    finding = say(
        "router.entropy_finding",
        name=names[int(top["recursion"]) - 1],
        value=f"{top['value']:.3f}",
        most=f"{most:.3f}",
        share=f"{top['value'] / most:.0%}",
    )
    return Chart(figure, finding, table.rename(columns={"value": "entropy_nats"}))


def load(table: pd.DataFrame, violation: float | None) -> Chart:
    """Draw each recursion's share of the tokens, and a line for the share that training aimed at.

    Args:
        table: from `router_results.load_table`.
        violation: MaxVio of a token-choice router, `None` for expert-choice.
    """
    word = "router.recursion_row" if violation is None else "router.depth_row"
    names = [say(word, number=number) for number in table["recursion"]]
    figure = new_figure(rows_height(len(table), row=44, extra=90))
    shares = [f"{share:.1%}" for share in table["measured"]]
    _add_bars(figure, names, table["measured"], shares)
    figure.add_scatter(
        x=table["aimed_at"],
        y=names,
        mode="markers",
        marker={"symbol": "line-ns-open", "size": 26, "color": LINE, "line": {"width": 3}},
        name=say("router.aimed_at"),
        hovertemplate=say("router.aimed_at") + " %{x:.1%}<extra></extra>",
        showlegend=True,
    )
    figure.update_layout(showlegend=True)
    figure.update_xaxes(range=[0, 1.04], tickformat=".0%", title_text=say("router.axis_load"))
    furthest = table.loc[(table["measured"] - table["aimed_at"]).abs().idxmax()]
    values = {
        "name": say(word, number=int(furthest["recursion"])),
        "measured": f"{furthest['measured']:.1%}",
        "aimed": f"{furthest['aimed_at']:.1%}",
    }
    if violation is None:
        finding = say("router.load_finding", **values)
    else:
        finding = say("router.load_finding_choice", violation=f"{violation:.2f}", **values)
    return Chart(figure, finding, table)


def reach(table: pd.DataFrame, dead_ratio: float | None) -> Chart:
    """Draw the share of tokens that took the last recursion, by range of positions in the window."""
    figure = new_figure(300)
    figure.add_bar(
        x=table["positions"],
        y=table["share_at_full_depth"],
        marker={"color": SERIES[0]},
        text=[f"{share:.0%}" for share in table["share_at_full_depth"]],
        textangle=0,
        customdata=table["num_tokens"],
        hovertemplate=say("router.reach_hover") + "<extra></extra>",
        showlegend=False,
    )
    figure.update_xaxes(type="category", title_text=say("router.axis_positions"))
    figure.update_yaxes(tickformat=".0%", rangemode="tozero", title_text=say("router.axis_reach"))
    low, high = (
        table.loc[index]
        for index in (table["share_at_full_depth"].idxmin(), table["share_at_full_depth"].idxmax())
    )
    finding = say(
        "router.reach_finding",
        low=f"{low['share_at_full_depth']:.0%}",
        low_positions=low["positions"],
        high=f"{high['share_at_full_depth']:.0%}",
        high_positions=high["positions"],
    )
    if dead_ratio is not None:
        dead = say("router.dead_finding", share=f"{dead_ratio:.1%}")
        finding = f"{dead if dead_ratio else say('router.none_dead')} {finding}"
    return Chart(figure, finding, table)


def _add_bars(figure: go.Figure, names: list[str], values: pd.Series, texts: list[str]) -> None:
    colours = depth_colours(len(names))
    figure.add_bar(
        orientation="h",
        y=names,
        x=values,
        marker={"color": colours},
        text=texts,
        textposition="auto",
        insidetextfont={"color": [text_on(colour) for colour in colours]},
        hovertemplate="%{y}: %{text}<extra></extra>",
        showlegend=False,
    )
    figure.update_yaxes(autorange="reversed", type="category")
