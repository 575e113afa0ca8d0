"""`mor bench load`: time from file to first token of the demo model in a warm process, and of the command's start."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import IO

from mor_core.benchmarks.harness import Bench, Side
from mor_core.benchmarks.result import Result, fact
from mor_core.checkpoints.checkpoint import load_checkpoint, resolve_checkpoint
from mor_core.generation.generation import generate_with_trace

_PROMPT = "Once upon a time"
_FIRST_TOKEN_AIM_S, _HELP_AIM_S = 1.0, 0.5


def run(bench: Bench) -> Iterator[Result]:
    """Load the model again in each run, like a viewer's first run if the libraries are already imported."""
    import torch

    bench.planned = 3
    dtype = getattr(torch, bench.dtype)
    folder = resolve_checkpoint("default")
    warm = load_checkpoint(folder, device=bench.device, dtype=dtype)

    def first_token() -> None:
        loaded = load_checkpoint(folder, device=bench.device, dtype=dtype)
        updates = generate_with_trace(loaded, _PROMPT, max_new_tokens=1, temperature=0.0)
        next(iter(updates))

    yield bench.compare(
        "loading the demo model and its first token, warm process",
        Side(f"checkpoint {warm.info.name}", first_token),
        unit="s",
        aim=_FIRST_TOKEN_AIM_S,
    )
    yield bench.compare(
        "`mor --help`, a process of its own",
        Side("the command", lambda: _python("-m", "mor_core.cli", "--help")),
        unit="s",
        aim=_HELP_AIM_S,
    )
    yield _imports(bench)


def _imports(bench: Bench) -> Result:
    """Return the seconds that `mor --help` spends on imports, according to Python's `-X importtime`."""
    what = "imports of `mor --help`"
    bench.report(0.0, what)
    with tempfile.TemporaryFile("w+") as report:
        started = time.perf_counter()
        _python("-X", "importtime", "-m", "mor_core.cli", "--help", report=report)
        seconds = time.perf_counter() - started
        report.seek(0)
        rows = [line.split("|") for line in report if line.startswith("import time:")]
    own = {
        row[2].strip(): int(row[0].partition(":")[2]) / 1e6
        for row in rows
        if row[2].strip() != "imported package"
    }
    heaviest = dict(sorted(own.items(), key=lambda item: -item[1])[:10])
    bench.finish(what)
    heavy = [name for name in ("torch", "transformers", "streamlit") if name in own]
    return fact(
        what,
        sum(own.values()),
        "s",
        note="torch, transformers and streamlit are not among them"
        if not heavy
        else ", ".join(heavy),
        extra={"num_modules": len(own), "heaviest_s": heaviest, "seconds_with_report": seconds},
    )


def _python(*arguments: str, report: IO[str] | int = subprocess.DEVNULL) -> None:
    subprocess.run(
        [sys.executable, *arguments],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=report,
    )
