"""Charts of the paper's published results, each marked as the paper's and never on one scale with ours.

Pure: tables of `app.tables.family_results` in, charts out.
"""

import pandas as pd
import plotly.graph_objects as go

from app.charts.figure import Chart, hover_text, new_figure
from app.style.theme import LINE, SERIES
from app.text.words import say

VANILLA = "Vanilla"
EQUAL_FLOPS = 16.5e18
_DIGITS = 4


def losses(table: pd.DataFrame) -> Chart:
    """Draw the paper's validation losses at 360M against the number of recursions.

    Args:
        table: from `paper_table`.
    """
    known = table[table["nll"].notna()]
    figure = _marked(new_figure(340))
    plain = known[known["model"] == VANILLA].iloc[0]
    figure.add_hline(
        y=plain["nll"],
        line={"color": LINE, "dash": "dot"},
        annotation_text=hover_text(f"{VANILLA} {plain['nll']:.{_DIGITS}f}"),
        annotation_position="bottom right",
    )
    others = known[known["model"] != VANILLA].assign(
        at_equal_flops=known["forward_flops"] == EQUAL_FLOPS
    )
    groups = others.groupby(["model", "at_equal_flops"], sort=False)
    for index, ((model, equal), group) in enumerate(groups):
        budget = say("efficiency.paper_equal_flops" if equal else "efficiency.paper_equal_tokens")
        name = f"{model}, {budget}"
        figure.add_scatter(
            x=group["recursions"],
            y=group["nll"],
            mode="lines+markers",
            name=hover_text(name),
            line={"color": SERIES[index], "width": 2, "dash": "solid" if equal else "dash"},
            marker={"size": 9, "symbol": ("circle", "square", "diamond", "cross", "star")[index]},
            customdata=group[["tokens", "forward_flops"]].to_numpy() / [1e9, 1e18],
            hovertemplate=f"{hover_text(name)}<br>%{{x}}: %{{y:.4f}}<br>"
            + say("efficiency.paper_hover")
            + "<extra></extra>",
        )
    figure.update_xaxes(title_text=say("efficiency.axis_recursions"), dtick=1)
    figure.update_yaxes(title_text=say("efficiency.axis_paper_nll"))
    routed = others[others["model"].str.startswith("MoR") & others["at_equal_flops"]]
    best = routed.loc[routed["nll"].idxmin()]
    finding = say(
        "efficiency.paper_losses_finding",
        best=best["model"],
        recursions=int(best["recursions"]),
        nll=f"{best['nll']:.{_DIGITS}f}",
        plain=f"{plain['nll']:.{_DIGITS}f}",
        better=int((routed["nll"] < plain["nll"]).sum()),
        count=len(routed),
    )
    return Chart(figure, finding, table)


def throughput(table: pd.DataFrame) -> Chart:
    """Draw the paper's speed-ups over its own plain Transformer.

    Args:
        table: from `paper_throughput_table`.
    """
    figure = _marked(new_figure(280))
    for index, column in enumerate(("at_batch_32", "at_equal_memory")):
        figure.add_bar(
            x=table["recursions"].astype(str),
            y=table[column],
            name=say(f"efficiency.paper_{column}"),
            text=[f"{value:.2f}x" for value in table[column]],
            textposition="outside",
            marker={"color": SERIES[index], "pattern": {"shape": ("", "/")[index]}},
            hovertemplate="%{x}: %{y:.2f}x<extra></extra>",
        )
    figure.add_hline(y=1, line={"color": LINE, "dash": "dot"})
    figure.update_xaxes(title_text=say("efficiency.axis_recursions"), type="category")
    top = 1.25 * table["at_equal_memory"].max()  # room for the numbers and the mark
    figure.update_yaxes(title_text=say("efficiency.axis_speed_up"), range=[0, top])
    most = table.loc[table["at_equal_memory"].idxmax()]
    finding = say(
        "efficiency.paper_throughput_finding",
        low=f"{table['at_batch_32'].min():.2f}",
        high=f"{table['at_batch_32'].max():.2f}",
        most=f"{most['at_equal_memory']:.2f}",
        recursions=int(most["recursions"]),
    )
    return Chart(figure, finding, table)


def _marked(figure: go.Figure) -> go.Figure:
    """Add a note to the plot that the numbers are the paper's."""
    figure.add_annotation(
        text=say("efficiency.paper_mark"),
        xref="paper",
        yref="paper",
        x=0.01,
        y=0.99,
        xanchor="left",
        yanchor="top",
        showarrow=False,
        font={"size": 20, "color": LINE},
    )
    return figure
