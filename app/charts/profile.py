"""Chart of the time per token, one bar per run: the parts that the profiler measured, and the roofline's minimum.

Pure: a table of `app.tables.bench_results` in, a chart out.
"""

import pandas as pd

from app.charts.figure import Chart, hover_text, new_figure, rows_height
from app.style.theme import SERIES
from app.text.words import say


def time_parts(table: pd.DataFrame) -> Chart:
    """Draw each run's time per token by part, beside its roofline.

    Args:
        table: from `bench_results.profile_table`; not empty.
    """
    runs = list(dict.fromkeys(table["run"]))
    figure = new_figure(rows_height(len(runs), row=56, extra=120))
    for index, part in enumerate(dict.fromkeys(table["part"])):
        rows = table[table["part"] == part].set_index("run").reindex(runs)
        name = say(f"bench.part_{part}")
        figure.add_bar(
            x=rows["ms"],
            y=[hover_text(say(f"bench.run_{run}")) for run in runs],
            orientation="h",
            name=name,
            marker={"color": SERIES[index]},
            customdata=100 * rows["ms"] / rows["token_ms"],
            hovertemplate=f"{hover_text(name)}: %{{x:.3f}} ms, %{{customdata:.0f}} %<extra></extra>",
        )
    whole = table.drop_duplicates("run")
    figure.add_scatter(
        x=whole["least_token_ms"],
        y=[hover_text(say(f"bench.run_{run}")) for run in whole["run"]],
        mode="markers",
        name=say("bench.least"),
        # Readable on bars of any colour, in the light and the dark theme.
        marker={
            "symbol": "diamond",
            "size": 13,
            "color": "#ffffff",
            "line": {"color": "#222222", "width": 2},
        },
        hovertemplate=f"{hover_text(say('bench.least'))}: %{{x:.3f}} ms<extra></extra>",
    )
    figure.update_layout(barmode="stack")
    figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(title_text=say("bench.profile_axis"), rangemode="tozero")
    return Chart(figure, _finding(table), table)


def _finding(table: pd.DataFrame) -> str:
    """State for each run the part that takes most time, and how close the run is to the roofline."""
    sentences = []
    for run, rows in table.groupby("run", sort=False):
        most = rows.loc[rows["ms"].idxmax()]
        sentences.append(
            say(
                "bench.profile_finding",
                run=say(f"bench.run_{run}"),
                part=say(f"bench.part_{most['part']}"),
                share=f"{most['ms'] / most['token_ms']:.0%}",
                token=f"{most['token_ms']:.2f}",
            )
        )
    return " ".join(sentences)
