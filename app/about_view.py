"""The About page's parts: versions, checkpoints, how each number is computed, limits, credits."""

import platform
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version

import pandas as pd
import streamlit as st

from app import frame, notices, results
from app.theme import format_bytes, format_flops
from app.words import entries, say
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
CITATION = """@inproceedings{bae2025mixture,
  title         = {Mixture-of-Recursions: Learning Dynamic Recursive Depths for Adaptive
                   Token-Level Computation},
  author        = {Bae, Sangmin and Kim, Yujin and Bayat, Reza and others},
  booktitle     = {Advances in Neural Information Processing Systems},
  year          = {2025},
  eprint        = {2507.10524},
  archivePrefix = {arXiv}
}"""
CORPUS_FILE = "CORPUS.md"
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


def checkpoint_table(info: CheckpointInfo) -> pd.DataFrame:
    """Return what a checkpoint's files say of where it comes from, one row a fact."""
    origin = info.provenance
    revisions = origin.get("code_revisions") or [origin.get("code_revision")]
    evaluated = results.causal_result(info.evaluation) or {}
    facts = {
        "weights (sha256)": info.sha256,
        "size": f"{format_bytes(info.num_bytes)} in bf16",
        "trained on": _counted(
            origin.get("num_tokens"), "tokens of", origin.get("data") or "unnamed text"
        ),
        "training FLOPs": _formatted(origin.get("training_flops"), format_flops),
        "wall time": _formatted(
            origin.get("elapsed_s"), lambda seconds: f"{seconds / 60:.0f} minutes"
        ),
        "hardware": _plain(origin.get("hardware")),
        "precision": origin.get("precision"),
        "seed": origin.get("seed"),
        "code": ", ".join(dict.fromkeys(str(revision) for revision in revisions if revision)),
        "command": origin.get("command"),
        "bits per byte, causal rule": _formatted(
            evaluated.get("bits_per_byte"), lambda bits: f"{bits:.4f}"
        ),
    }
    rows = [
        (name, notices.as_text(str(value)))
        for name, value in facts.items()
        if value not in (None, "")
    ]
    return pd.DataFrame(rows, columns=["fact", "value"])


def _formatted(value: object, write: Callable[[float], str]) -> str:
    return write(value) if isinstance(value, int | float) else ""


def _counted(value: object, unit: str, of: object) -> str:
    return f"{value:,} {unit} {of}" if isinstance(value, int) else ""


def _plain(value: object) -> str:
    """Write an object of a JSON file in one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(item)}" for name, item in value.items())
    return "" if value is None else str(value)


def credits_section(info: CheckpointInfo) -> None:
    """Show what a checkpoint carries of its corpus: a description, and credits."""
    description = info.path / CORPUS_FILE
    if description.is_file():
        with st.expander(f"{notices.as_text(info.name)}: {say('about.corpus')}"):
            # As plain text: Markdown of a stranger's folder could load pictures from other hosts.
            text = description.read_text(encoding="utf-8", errors="replace")
            st.code(text, language=None, wrap_lines=True)
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


def listed(kind: str) -> str:
    """Write the numbered entries of a kind, such as `limit`, as a Markdown list."""
    keys = [key for key in entries() if key.startswith(f"about.{kind}_")]
    return "\n".join(f"- {say(key)}" for key in keys if key.rpartition("_")[2].isdigit())
