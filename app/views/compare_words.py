"""Texts about two runs: their names, the finding, and their figures as a formatted table. Pure."""

from collections.abc import Sequence

import pandas as pd

from app.style.theme import format_bytes, format_flops
from app.tables.comparison import Comparison, Figure, shared_figures
from app.text.words import say
from mor_core.checkpoints.checkpoint import CheckpointInfo
from mor_core.common.logistic import sigmoid
from mor_core.traces.thresholds import threshold_logits
from mor_core.traces.trace import TraceHeader

_OVERRIDES = ("forced", "fixed", "random")


def run_names(comparison: Comparison) -> tuple[str, str]:
    """Return both runs' names: checkpoint and rule, and the KV strategy if the names would be equal."""
    headers = [run.header for run in comparison.runs]
    names = [f"{header.checkpoint} · {rule_text(header)}" for header in headers]
    if names[0] == names[1] and headers[0].kv_strategy != headers[1].kv_strategy:
        names = [
            f"{name} · {say('frame.cache_' + header.kv_strategy)}"
            for name, header in zip(names, headers, strict=True)
        ]
    return names[0], names[1]


def rule_text(header: TraceHeader) -> str:
    """Return the routing rule of a run in the viewer's language."""
    routing = header.routing
    name = routing["name"]
    text = say(f"strip.rule_{name}", depth=routing.get("depth", ""))
    if routing.get("max_depth") is not None:
        text = say("names.capped", rule=text, depth=routing["max_depth"])
    scores = [sigmoid(z) for z in threshold_logits(header) if z is not None]
    if scores:
        shown = " / ".join(dict.fromkeys(f"{score:.2f}" for score in scores))
        return f"{text}, {say('strip.threshold', scores=shown)}"
    return f"{text}, {say('strip.gate_' + routing['gate'])}" if name in _OVERRIDES else text


def finding(comparison: Comparison) -> str:
    """State the result of the comparison in one or two sentences."""
    figures = {figure.name: figure for figure in shared_figures(comparison)}
    n = figures["tokens"].n[0]
    if not n:
        return say("compare.found_nothing")
    parts = [_spent(figures, comparison.scale.unit, n)]
    if "bits_per_byte" in figures:
        parts.append(_predicted(figures["bits_per_byte"]))
    if comparison.alignment.diverges:
        parts.append(say("compare.found_parting", n=f"{n:,}"))
    return "".join(parts) if _joins() else " ".join(parts)


def training_note(comparison: Comparison, checkpoints: Sequence[CheckpointInfo]) -> str:
    """State that the models were trained on different numbers of tokens; empty if on the same number or unknown."""
    known = {info.sha256: info.provenance.get("num_tokens") for info in checkpoints}
    counts = [known.get(run.header.checkpoint_sha256) for run in comparison.runs]
    numbers = [count for count in counts if isinstance(count, int | float)]
    if len(numbers) < len(counts) or numbers[0] == numbers[1]:
        return ""
    first, second = (f"{count / 1e6:,.1f}M" for count in numbers)
    return say("compare.trained_differently", a=first, b=second)


def figure_table(figures: Sequence[Figure]) -> pd.DataFrame:
    """Return figures as a formatted table: A, B and the signed difference."""
    columns = {
        say("compare.column_figure"): [say(f"compare.figure_{figure.name}") for figure in figures],
        "A": [_written(figure, figure.values[0]) for figure in figures],
        "B": [_written(figure, figure.values[1]) for figure in figures],
        "B − A": [_difference(figure) for figure in figures],
        say("compare.column_n"): [_count(figure) for figure in figures],
    }
    return pd.DataFrame(columns)


def raw_table(figures: Sequence[Figure]) -> pd.DataFrame:
    """Return figures as a table of numbers."""
    rows = [
        {
            "figure": figure.name,
            "a": figure.values[0],
            "b": figure.values[1],
            "difference": figure.difference,
            "n_a": figure.n[0],
            "n_b": figure.n[1],
            "n_of": figure.n_of,
        }
        for figure in figures
    ]
    return pd.DataFrame(rows)


def _joins() -> bool:
    """Whether the language puts no space between sentences, as in Chinese."""
    return say("compare.sentence_space") == "none"


def _spent(figures: dict[str, Figure], unit: str, n: int) -> str:
    first, second = (value or 0.0 for value in figures[f"mean_{unit}"].values)
    values = {"a": f"{first:.2f}", "b": f"{second:.2f}", "n": f"{n:,}"}
    if figures["tokens"].values[0] == figures["tokens"].values[1] and first == second:
        return say(f"compare.found_same_{unit}", **values)
    return say(f"compare.found_{unit}", **values)


def _predicted(figure: Figure) -> str:
    difference = figure.difference or 0.0
    shown = f"{abs(difference):.3f}"
    if float(shown) == 0:
        return say("compare.found_equal_bits")
    return say(
        "compare.found_fewer_bits" if difference < 0 else "compare.found_more_bits", bits=shown
    )


def _written(figure: Figure, value: float | None) -> str:
    if value is None:
        return "–"
    name = figure.name
    if name.startswith("flops"):
        return format_flops(value)
    if name.startswith("kv"):
        return format_bytes(value)
    if float(value).is_integer() and name in ("tokens", "run_tokens", "better"):
        return f"{value:,.0f}"
    return f"{value:.3f}".replace("-", "−")


def _difference(figure: Figure) -> str:
    difference = figure.difference
    if difference is None or figure.name == "better":
        return "–"
    sign = "+" if difference > 0 else "−" if difference < 0 else "±"
    text = sign + _written(figure, abs(difference))
    first = figure.values[0]
    is_relative = figure.name not in ("tokens", "run_tokens", "log_probability", "bits_per_byte")
    return (
        f"{text} ({difference / first:+.0%})".replace("(-", "(−") if is_relative and first else text
    )


def _count(figure: Figure) -> str:
    unit = say(f"compare.n_{figure.n_of}")
    first, second = figure.n
    return f"{first:,} {unit}" if first == second else f"{first:,} / {second:,} {unit}"
