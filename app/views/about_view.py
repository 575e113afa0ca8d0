"""The About page's parts: versions, checkpoints, how each number is computed, limits, credits."""

import platform
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version

import pandas as pd
import streamlit as st

from app.frame import messages, page_parts
from app.style.theme import format_bytes, format_flops
from app.tables import result_files
from app.text.words import entries, say
from mor_core.checkpoints.checkpoint import CheckpointInfo
from mor_core.traces.trace import TRACE_SCHEMA, TRACE_VERSION

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
CREDIT_FILES = {"ATTRIBUTION.tsv": "about.credits", "SOURCES.tsv": "about.sources"}


def versions_table() -> pd.DataFrame:
    """Return the versions of Python, packages and machine that this app runs on."""
    rows = [("Python", platform.python_version())]
    for package in PACKAGES:
        try:
            rows.append((package, version(package)))
        except PackageNotFoundError:
            rows.append((package, say("about.not_installed")))
    rows.append((say("about.trace_format"), f"{TRACE_SCHEMA} {TRACE_VERSION}"))
    return pd.DataFrame(rows, columns=[say("about.column_what"), say("about.column_version")])


def checkpoint_table(info: CheckpointInfo) -> pd.DataFrame:
    """Return the facts in a checkpoint's files on its origin and training, one row per fact."""
    origin = info.provenance
    revisions = origin.get("code_revisions") or [origin.get("code_revision")]
    evaluated = result_files.causal_result(info.evaluation) or {}
    facts = {
        "weights": info.sha256,
        "size": say("about.size", bytes=format_bytes(info.num_bytes)),
        "trained_on": _read(origin.get("num_tokens"), origin.get("data")),
        "training_flops": _formatted(origin.get("training_flops"), format_flops),
        "wall_time": _formatted(
            origin.get("elapsed_s"),
            lambda seconds: say("about.minutes", count=f"{seconds / 60:.0f}"),
        ),
        "hardware": _plain(origin.get("hardware")),
        "precision": origin.get("precision"),
        "seed": origin.get("seed"),
        "code": ", ".join(dict.fromkeys(str(revision) for revision in revisions if revision)),
        "command": origin.get("command"),
        "bits_per_byte": _formatted(evaluated.get("bits_per_byte"), lambda bits: f"{bits:.4f}"),
    }
    rows = [
        (say(f"about.fact_{name}"), messages.as_text(str(value)))
        for name, value in facts.items()
        if value not in (None, "")
    ]
    return pd.DataFrame(rows, columns=[say("about.column_fact"), say("about.column_value")])


def _formatted(value: object, write: Callable[[float], str]) -> str:
    return write(value) if isinstance(value, int | float) else ""


def _read(tokens: object, text: object) -> str:
    if not isinstance(tokens, int):
        return ""
    return say("about.tokens_of", count=f"{tokens:,}", text=text or say("about.unnamed_text"))


def _plain(value: object) -> str:
    """Format an object of a JSON file on one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(item)}" for name, item in value.items())
    return "" if value is None else str(value)


def credits_section(info: CheckpointInfo) -> None:
    """Show what a checkpoint carries of its corpus: a description, and credits."""
    description = info.path / CORPUS_FILE
    if description.is_file():
        with st.expander(f"{messages.as_text(info.name)}: {say('about.corpus')}"):
            # As plain text: Markdown of a stranger's folder could load pictures from other hosts.
            text = description.read_text(encoding="utf-8", errors="replace")
            st.code(text, language=None, wrap_lines=True)
    for name, title in CREDIT_FILES.items():
        try:
            table = result_files.credits_table(info.path / name)
        except (OSError, ValueError) as error:
            file = f"{info.name}/{name}"
            messages.show_error(say("about.unreadable", file=file, problem=error))
            continue
        if table.empty:
            continue
        listed = say(title, count=f"{len(table):,}")
        with st.expander(f"{messages.as_text(info.name)}: {listed}"):
            page_parts.show_table(table, key=f"credits_{info.name}_{name}", height=400)


def listed(kind: str) -> str:
    """Return the numbered entries of a kind, such as `limit`, as a Markdown list."""
    keys = [key for key in entries() if key.startswith(f"about.{kind}_")]
    return "\n".join(f"- {say(key)}" for key in keys if key.rpartition("_")[2].isdigit())
