"""The provenance of a checkpoint: code, data, hardware, package versions, and the totals of the run."""

import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from accelerate.accelerator import Accelerator

from mor_core.checkpoints.checkpoint_files import weights_sha256
from mor_core.training.recipe import Recipe
from mor_core.training.run_state import RunTotals

_PACKAGES = ("torch", "transformers", "accelerate", "tokenizers", "numpy")


def code_revision() -> str:
    """Return the git revision of this code, plus `+changes` if tracked files differ; `unknown` outside git."""
    root = Path(__file__).resolve().parents[2]
    try:
        revision = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", "mor_core")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{revision}+changes" if changed else revision


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that computed the run."""
    return {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}


def run_provenance(
    recipe: Recipe,
    facts: Mapping[str, Any],
    totals: RunTotals,
    accelerator: Accelerator,
    command: str,
    overrides: Mapping[str, Any],
) -> dict[str, Any]:
    """Return where the weights come from, as plain data: names of files, not their paths on this machine."""
    data = recipe.data
    return {
        "name": recipe.run.name,
        "title": recipe.run.title,
        "command": command,
        "overrides": dict(overrides),
        "data": data.train or data.hugging_face,
        "validation_data": data.valid or data.valid_split,
        **{name: value for name, value in facts.items() if name != "recipe"},
        "seed": recipe.run.seed,
        **asdict(totals),
        "hardware": _distinct(totals.hardware),
        "num_processes": accelerator.num_processes,
        "precision": _distinct(totals.precision),
        "compiled": recipe.run.compile,
        "versions": package_versions(),
    }


def _distinct(names: list[str]) -> str:
    """Join the values of a run's starts in order, each once."""
    return ", then ".join(dict.fromkeys(names))


def conversion_provenance(
    source: Path,
    destination: Path,
    files: list[Path],
    conversion: Mapping[str, Any],
    tokenizer: Path | Literal["none"] | None,
) -> dict[str, Any]:
    """Return where converted weights come from, as plain data.

    Args:
        source: the folder or file that was converted.
        destination: the checkpoint's folder.
        files: the source's weight files.
        conversion: the options of the conversion.
        tokenizer: the folder of the tokenizer; `None` if the source contained it.
    """
    return {
        "name": destination.name,
        "title": f"Converted from {source.name}, not trained since",
        "source": source.name,
        "source_sha256": weights_sha256(files),
        "conversion": dict(conversion),
        "tokenizer": "source" if tokenizer is None else Path(tokenizer).name,
        "code_revision": code_revision(),
        "versions": package_versions(),
    }
