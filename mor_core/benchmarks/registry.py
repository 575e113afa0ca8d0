"""Lists the benchmarks, runs one, and saves its results.

A benchmark is a module `NAME.py` of this package with a function `run(bench)` that yields results. Each result is saved
at once, so that a later failure loses nothing.
"""

import importlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mor_core.benchmarks.harness import Bench, Progress, threads
from mor_core.benchmarks.result import Result
from mor_core.common.machine import BUSY_CORES, OtherWork, describe_machine

_WATCH_S = 1.0  # how long other processes are watched before measuring


@dataclass(frozen=True)
class Entry:
    """One benchmark of the list.

    Attributes:
        question: that the benchmark answers.
        minutes: time limit in `mor bench all`.
        needs_quiet: whether other processes would distort its numbers.
        in_all: whether `mor bench all` runs it.
    """

    question: str
    minutes: float
    needs_quiet: bool = True
    in_all: bool = True


BENCHMARKS: dict[str, Entry] = {
    "decode": Entry("How fast is one stream, beside transformers?", 4),
    "serve": Entry("How fast are many requests in one batch, beside the vanilla model?", 14),
    "prefill": Entry("How long does a text take to be read, beside the vanilla model?", 2),
    "train": Entry("How fast is a training step, beside the vanilla model's?", 5),
    "memory": Entry("Does the cache hold the bytes that the formula says?", 2, needs_quiet=False),
    "growth": Entry("What do a longer context and more slots cost?", 5),
    "profile": Entry("Where does a token's time go?", 2),
    "load": Entry("How long until the first token, and until the command answers?", 1),
    "ui": Entry("Does the app in a browser keep its budgets?", 5, needs_quiet=False),
    "members": Entry("How fast does each checkpoint write and train?", 15, in_all=False),
    "soak": Entry("Does memory grow over 20 minutes of runs?", 20, needs_quiet=False, in_all=False),
}
"""All benchmarks, in the order of `mor bench all`."""


@dataclass(frozen=True)
class Settings:
    """How to run a benchmark; the defaults are those of `mor bench`.

    Attributes:
        device: such as `cpu` or `cuda`.
        dtype: by torch's name.
        quick: measure less in less time.
        num_threads: CPU threads; `None` for torch's default.
        repeats: timed runs of each side; `None` for the benchmark's default.
        minutes: time limit, after which the results so far are kept; `None` for no limit.
        force: overwrite results even if the machine is busy.
    """

    device: str = "cpu"
    dtype: str = "float32"
    quick: bool = False
    num_threads: int | None = None
    repeats: int | None = None
    minutes: float | None = None
    force: bool = False


def run_benchmark(
    name: str,
    settings: Settings,
    *,
    path: Path | None = None,
    on_progress: Progress = lambda _share, _what: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Run one benchmark and return `results`, `hardware`, `settings`, `roofline`, `warnings` and more as plain data.

    Args:
        name: one of `BENCHMARKS`.
        settings: how to run it.
        path: the file to save to; `None` saves nothing.
        on_progress: progress callback.
        should_stop: called between runs; if true, the benchmark stops.

    Raises:
        ValueError: the name is unknown, or the machine is busy and `path` already holds results.
        BenchmarkStopped: `should_stop` returned true.
    """
    if name not in BENCHMARKS:
        raise ValueError(f"benchmark must be one of {', '.join(BENCHMARKS)}, got {name!r}")
    entry = BENCHMARKS[name]
    warnings = busy_warnings() if entry.needs_quiet else []
    if warnings and path is not None and path.exists() and not settings.force:
        raise ValueError(
            f"{path.name} holds results and must not be overwritten while {warnings[0]}; "
            "wait until the machine is idle, or give --force"
        )
    with threads(settings.num_threads):
        others, started = OtherWork(), time.monotonic()
        document = _empty_document(name, settings, warnings)
        bench = _make_bench(
            settings, on_progress, should_stop, document, measures=entry.needs_quiet
        )
        for result in _run(name, bench):
            document["results"].append(result.as_dict())
            if path is not None:
                save(document, _partial(path))
        document["settings"]["warm_ups"] = bench.warm_ups  # the benchmark may have changed it
        document["seconds"] = time.monotonic() - started
        document["complete"] = bench.seconds_left() > 0
        cores = others.cores()
        document["hardware"]["cores_taken_by_others"] = cores
        if entry.needs_quiet and cores is not None and cores > BUSY_CORES:
            document["warnings"].append(f"others took {cores:.2f} cores while this was measured")
    if path is not None:
        save(document, path)
        _partial(path).unlink(missing_ok=True)
    return document


def busy_warnings(watch_s: float = _WATCH_S) -> list[str]:
    """Watch other processes for `watch_s` seconds; return a warning if they keep this machine busy."""
    others = OtherWork()
    time.sleep(watch_s)
    cores = others.cores()
    if cores is None:  # not reported by this system: use the load average of the last minute
        cores = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return [f"others take {cores:.2f} cores of this machine"] if cores > BUSY_CORES else []


def save(document: dict[str, Any], path: Path) -> None:
    """Write a document atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(f"{json.dumps(document, indent=1, ensure_ascii=False)}\n", encoding="utf-8")
    draft.replace(path)


def _partial(path: Path) -> Path:
    """Return the file for an unfinished benchmark's results, which no reader of results opens."""
    return path.with_suffix(".partial")


def _run(name: str, bench: Bench) -> Iterator[Result]:
    module = importlib.import_module(f"mor_core.benchmarks.{name}")
    yield from module.run(bench)


def _empty_document(name: str, settings: Settings, warnings: list[str]) -> dict[str, Any]:
    from mor_core.training.provenance import code_revision

    return {
        "benchmark": name,
        "question": BENCHMARKS[name].question,
        "results": [],
        "hardware": describe_machine(settings.device, settings.dtype),
        "settings": {**vars(settings), "order": "in turn", "garbage_collection": "off while timed"},
        "roofline": None,
        "warnings": list(warnings),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "code_revision": code_revision(),
    }


def _make_bench(
    settings: Settings,
    on_progress: Progress,
    should_stop: Callable[[], bool],
    document: dict[str, Any],
    *,
    measures: bool,
) -> Bench:
    bench = Bench(
        device=settings.device,
        dtype=settings.dtype,
        quick=settings.quick,
        repeats=settings.repeats or (2 if settings.quick else 5),
        on_progress=on_progress,
        should_stop=should_stop,
    )
    if settings.minutes is not None:
        bench.deadline = bench.clock() + 60 * settings.minutes
    if measures:
        from mor_core.benchmarks.roofline import measure_roofline

        on_progress(0.0, "the machine's own limits")
        bench.roofline = measure_roofline(settings.device, settings.dtype, quick=settings.quick)
        document["roofline"] = bench.roofline.as_dict()
    document["settings"] |= {"warm_ups": bench.warm_ups, "repeats": bench.repeats}
    return bench
