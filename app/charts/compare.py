"""Charts of two runs: their joint depths, and the difference of their surprisal.

Pure: a comparison in, charts out. The diverging colours are those of the differences in the strip above.
"""

import pandas as pd

from app.charts.figure import Chart, hover_text, new_figure, rows_height
from app.style.theme import LINE
from app.tables.comparison import Comparison, piece_table
from app.text.words import say

LESS, MORE = "#2166ac", "#b2182b"  # B is below or above A; the same pair as in pair.js
_MAX_NAMED = 48


def joint_depths(comparison: Comparison) -> Chart:
    """Draw the number of pieces for each pair of depths in A and B; on the diagonal they agree."""
    unit = comparison.scale.unit
    table = piece_table(comparison)
    table = table[~table["special"] & table["difference"].notna()]
    counts = table.groupby([f"{unit}_a", f"{unit}_b"]).size().rename("num_pieces").reset_index()
    rows = sorted(set(counts[f"{unit}_a"]))
    columns = sorted(set(counts[f"{unit}_b"]))
    grid = (
        counts.pivot(index=f"{unit}_a", columns=f"{unit}_b", values="num_pieces")
        .reindex(index=rows, columns=columns)
        .astype("float64")
    )
    figure = new_figure(rows_height(len(rows), row=34))
    figure.add_heatmap(
        z=grid.to_numpy(),
        x=[f"B: {value}" for value in columns],
        y=[f"A: {value}" for value in rows],
        text=[["" if pd.isna(cell) else f"{cell:.0f}" for cell in row] for row in grid.to_numpy()],
        texttemplate="%{text}",
        textfont={"size": 14},
        colorscale=[(0, "#dfe3e8"), (1, "#7b8494")],
        zmin=0,
        showscale=False,
        xgap=2,
        ygap=2,
        hovertemplate=f"%{{y}}, %{{x}} {say(f'compare.axis_{unit}')}: %{{z:.0f}}<extra></extra>",
    )
    figure.update_yaxes(autorange="reversed", type="category", showgrid=False)
    figure.update_xaxes(type="category", showgrid=False, title_text=say(f"compare.axis_{unit}"))
    return Chart(figure, _joint_finding(table), counts)


def surprise_differences(comparison: Comparison) -> Chart:
    """Draw the difference of surprisal (B minus A, in bits) for each piece."""
    table = piece_table(comparison)
    table = table[~table["special"] & table["surprise_difference"].notna()].reset_index(drop=True)
    figure = new_figure(340, bargap=0.15, showlegend=True)
    for name, colour, chosen in (
        ("compare.b_better", LESS, table["surprise_difference"] <= 0),
        ("compare.a_better", MORE, table["surprise_difference"] > 0),
    ):
        part = table[chosen]
        figure.add_bar(
            x=part.index,
            y=part["surprise_difference"],
            name=say(name),
            marker={"color": colour, "line": {"width": 0}},
            customdata=[[hover_text(text)] for text in part["tokens_a"]],
            hovertemplate=say("compare.surprise_hover") + "<extra></extra>",
        )
    figure.update_yaxes(title_text=say("compare.axis_bits"), zeroline=True, zerolinecolor=LINE)
    figure.update_xaxes(title_text=say("compare.axis_piece"), showgrid=False)
    if len(table) <= _MAX_NAMED:
        names = [hover_text(text) for text in table["tokens_a"]]
        figure.update_xaxes(
            tickvals=list(table.index), ticktext=names, tickangle=-60, title_text=""
        )
    columns = [
        "position_a",
        "tokens_a",
        "surprise_bits_a",
        "surprise_bits_b",
        "surprise_difference",
    ]
    return Chart(figure, _surprise_finding(table), table[columns])


def _joint_finding(table: pd.DataFrame) -> str:
    if table.empty:
        return say("compare.found_nothing")
    difference = table["difference"]
    return say(
        "compare.joint_finding",
        same=f"{int((difference == 0).sum()):,}",
        less=f"{int((difference < 0).sum()):,}",
        more=f"{int((difference > 0).sum()):,}",
        n=f"{len(table):,}",
    )


def _surprise_finding(table: pd.DataFrame) -> str:
    if table.empty:
        return say("compare.no_scores")
    change = table["surprise_difference"]
    best = table.loc[change.abs().idxmax()]
    return say(
        "compare.surprise_finding",
        b=f"{int((change < 0).sum()):,}",
        a=f"{int((change > 0).sum()):,}",
        n=f"{len(table):,}",
        token=best["tokens_a"],
        bits=f"{best['surprise_difference']:+.1f}".replace("-", "−"),
    )
