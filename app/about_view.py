"""The About page's parts: versions, checkpoints, how each number is computed, limits, credits."""

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

import pandas as pd
import streamlit as st

from app import frame, notices, results, wording
from app.theme import format_bytes, format_flops
from mor_core.checkpoint import CheckpointInfo
from mor_core.trace import TRACE_SCHEMA, TRACE_VERSION

PACKAGES = (
    "mor-explorer",
    "torch",
    "transformers",
    "tokenizers",
    "streamlit",
    "plotly",
    "pandas",
    "numpy",
)
CREDIT_FILES = {"ATTRIBUTION.tsv": "Credited authors (CC BY)", "SOURCES.tsv": "All sources"}


def versions_table() -> pd.DataFrame:
    """Return what this app runs on."""
    rows = [("Python", platform.python_version())]
    for package in PACKAGES:
        try:
            rows.append((package, version(package)))
        except PackageNotFoundError:
            rows.append((package, "not installed"))
    rows.append(("trace format", f"{TRACE_SCHEMA} {TRACE_VERSION}"))
    return pd.DataFrame(rows, columns=["what", "version"])


def checkpoints_table(checkpoints: Sequence[CheckpointInfo]) -> pd.DataFrame:
    """Return one row a checkpoint: what its files say of where it comes from."""
    rows = []
    for info in checkpoints:
        origin = info.provenance
        evaluated = results.causal_result(info.evaluation)
        revisions = origin.get("code_revisions") or [origin.get("code_revision", "")]
        rows.append(
            {
                "checkpoint": info.name,
                "weights_sha256": info.sha256,
                "weights": format_bytes(info.num_bytes),
                "training_tokens": origin.get("num_tokens"),
                "training_flops": format_flops(origin["training_flops"])
                if "training_flops" in origin
                else "",
                "bits_per_byte": None if evaluated is None else evaluated.get("bits_per_byte"),
                "data": origin.get("data", ""),
                "seed": origin.get("seed"),
                "code": ", ".join(str(revision) for revision in dict.fromkeys(revisions)),
                "command": origin.get("command", ""),
            }
        )
    return pd.DataFrame(rows)


def credits_section(info: CheckpointInfo) -> None:
    """Show the credits that a checkpoint carries."""
    for name, title in CREDIT_FILES.items():
        try:
            table = results.credits_table(info.path / name)
        except (OSError, ValueError) as error:
            notices.show_error(f"{info.name}/{name} cannot be read: {error}")
            continue
        if table.empty:
            continue
        with st.expander(f"{notices.as_text(info.name)}: {title}, {len(table):,} rows"):
            frame.show_table(table, key=f"credits_{info.name}_{name}", height=400)


def numbers_table() -> pd.DataFrame:
    """Return how each number of the app is computed."""
    return pd.DataFrame(wording.NUMBERS.items(), columns=["number", "how it is computed"])


def glossary_table() -> pd.DataFrame:
    """Return the words of the app."""
    return pd.DataFrame(wording.GLOSSARY.items(), columns=["word", "meaning"])
