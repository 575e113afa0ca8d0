"""Tables from the files beside a checkpoint: evaluation, training log, credits, recorded calls.

A missing file gives an empty table, a damaged file an error that names it. Imports neither Streamlit nor torch.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from app.text.words import say
from mor_core.traces.trace import Trace

CAUSAL_RULES = ("causal", "aux", "argmax", "none")
"""Names in traces and evaluations of the rule by which a model's own router decides at inference."""

EVALUATION_COLUMNS = {
    "routing": "str",
    "gate": "str",
    "nll_nats_per_token": "float64",
    "bits_per_byte": "float64",
    "perplexity": "float64",
    "mean_recursion_depth": "float64",
    "active_flops_per_token": "float64",
    "full_depth_flops_per_token": "float64",
    "num_tokens": "Int64",
}


class ResultError(ValueError):
    """A result file is damaged."""


def damaged(file: str, error: Exception, command: str) -> str:
    """Return a message: which file is damaged, how, and which command rewrites it."""
    problem = f"{type(error).__name__}: {error}"
    return say("results.damaged", file=file, problem=problem, command=command)


def evaluation_table(evaluation: Mapping[str, Any]) -> pd.DataFrame:
    """Return one row per routing rule of an evaluation.json.

    Raises:
        ResultError: a figure is missing.
    """
    rows = []
    for result in evaluation.get("results", []):
        try:
            row = {
                name: result[name] for name in EVALUATION_COLUMNS if name not in ("routing", "gate")
            }
            rule = result["routing"]
            rows.append({"routing": rule_name(rule), "gate": rule.get("gate", ""), **row})
        except (KeyError, TypeError, AttributeError) as error:
            raise ResultError(say("results.evaluation_lacks", problem=error)) from error
    return pd.DataFrame(rows, columns=list(EVALUATION_COLUMNS)).astype(EVALUATION_COLUMNS)


def causal_result(evaluation: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the results under the model's own causal rule; `None` if there are none."""
    for result in evaluation.get("results", []):
        if isinstance(result, dict) and result.get("routing", {}).get("name") in CAUSAL_RULES:
            return result
    return None


def rule_name(routing: Mapping[str, Any]) -> str:
    """Return a routing rule in the form that `mor eval --routing` takes."""
    depth = f":{routing['depth']}" if routing.get("depth") is not None else ""
    return f"{routing.get('name', 'unknown')}{depth}"


def training_table(path: Path) -> pd.DataFrame:
    """Return one row per optimiser step of a train_log.jsonl; nested values get names such as `loss_lm`.

    Raises:
        ResultError: a line is not a JSON object.
    """
    if not path.is_file():
        return pd.DataFrame()
    rows = []
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            rows.append(_flat(json.loads(text)))
        except (ValueError, AttributeError) as error:
            problem = say("results.no_object", file=path.name, line=number, problem=error)
            raise ResultError(problem) from error
    return pd.DataFrame(rows)


def credits_table(path: Path) -> pd.DataFrame:
    """Return the rows of an ATTRIBUTION.tsv or SOURCES.tsv, without incomplete ones."""
    if not path.is_file():
        return pd.DataFrame()
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return pd.DataFrame([row for row in rows[1:] if len(row) == len(rows[0])], columns=rows[0])


def traced_depths(traces: Sequence[Trace]) -> list[int]:
    """Count content tokens at depth 1, 2, ... over runs of one model."""
    histograms = [trace.depth_histogram() for trace in traces]
    return [sum(counts) for counts in zip(*histograms, strict=True)]


def decode_table(traces: Sequence[Trace]) -> pd.DataFrame:
    """Return one row per decoded token: its run, device, dtype, depth, and the seconds of its call."""
    rows = [
        {
            "run": trace.header.title or trace.header.checkpoint,
            "device": trace.header.device,
            "dtype": trace.header.dtype,
            "position": token.position,
            "recursion_depth": token.recursion_depth,
            "latency_s": token.latency_s,
        }
        for trace in traces
        for token in trace.tokens
        if token.phase == "decode" and token.recursion_depth is not None and token.latency_s
    ]
    columns = ["run", "device", "dtype", "position", "recursion_depth", "latency_s"]
    return pd.DataFrame(rows, columns=columns)


def speed_table(traces: Sequence[Trace]) -> pd.DataFrame:
    """Return one row per run: measured tokens and rates of prefill and decode."""
    rows = []
    for trace in traces:
        prefill = [step for step in trace.steps if step.phase == "prefill"]
        decode = [step for step in trace.steps if step.phase == "decode"]
        seconds = sum(step.latency_s for step in decode)
        prompt_seconds = sum(step.latency_s for step in prefill)
        tokens = sum(step.num_tokens for step in decode)
        prompt_tokens = sum(step.num_tokens for step in prefill)
        rows.append(
            {
                "run": trace.header.title or trace.header.checkpoint,
                "device": trace.header.device,
                "dtype": trace.header.dtype,
                "batch": 1,
                "prefill_tokens": prompt_tokens,
                "prefill_tokens_per_s": prompt_tokens / prompt_seconds if prompt_seconds else None,
                "decode_tokens": tokens,
                "decode_tokens_per_s": tokens / seconds if seconds else None,
                "active_flops": sum(step.active_flops for step in trace.steps),
                "full_depth_flops": trace.header.full_depth_flops,
                "measured": trace.header.created,
            }
        )
    return pd.DataFrame(rows)


def _flat(line: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested objects and lists into columns; list items are numbered from 1, like recursions."""
    flat: dict[str, Any] = {}
    for name, value in line.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}_")
        elif isinstance(value, list):
            flat |= {f"{prefix}{name}_{number}": item for number, item in enumerate(value, start=1)}
        else:
            flat[f"{prefix}{name}"] = value
    return flat
