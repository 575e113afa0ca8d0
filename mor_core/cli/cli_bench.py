"""`mor bench`: runs one benchmark or all of them, shows progress, prints and saves the results."""

import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from mor_core.cli.cli_options import Device, Dtype, Json, print_json, say

ALL = "all"


def bench(
    name: Annotated[str, typer.Argument(help="decode, serve, prefill, ..., or all.")],
    as_json: Json = False,
    quick: Annotated[bool, typer.Option("--quick", help="A shorter, less precise run.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Save here: a .json file, or a folder for NAME.json.")
    ] = None,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    num_threads: Annotated[int | None, typer.Option("--threads", min=1)] = None,
    repeats: Annotated[int | None, typer.Option(min=1, help="Timed runs of each side.")] = None,
    minutes: Annotated[
        float | None,
        typer.Option(help="Stop a long benchmark after this time; keep its results so far."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite results even if the machine is busy.")
    ] = False,
) -> None:
    """Measure speed and memory against named peers, and compare both with the machine's limits (roofline)."""
    from mor_core.benchmarks.registry import Settings, run_benchmark
    from mor_core.checkpoints.checkpoint import DTYPE_NAMES

    if name == ALL:
        options = [f"--device={device}", f"--dtype={dtype}"]
        options += [f"--threads={num_threads}"] if num_threads else []
        options += [f"--repeats={repeats}"] if repeats else []
        options += [f"--out={out}"] if out else []
        options += ["--json"] * as_json + ["--quick"] * quick + ["--force"] * force
        _run_all(options, minutes)
        return
    settings = Settings(
        device=device,
        dtype=DTYPE_NAMES.get(dtype, dtype),
        quick=quick,
        num_threads=num_threads,
        repeats=repeats,
        minutes=minutes,
        force=force,
    )
    document = run_benchmark(name, settings, path=_file(out, name), on_progress=_show_progress)
    say("")
    if as_json:
        print_json(document)
    else:
        for line in lines(document):
            typer.echo(line)


def lines(document: dict[str, Any]) -> list[str]:
    """Return the results of a benchmark as lines of text."""
    machine = document["hardware"]
    found = [
        f"{document['benchmark']} on {machine['processor']}, {machine['threads']} threads, "
        f"{machine['device']}, {machine['dtype']}"
    ]
    for result in document["results"]:
        text = f"  {result['what']}: {result['ours']:,.4g} {result['unit']}"
        if result["theirs"] is not None:
            text += f" against {result['theirs']:,.4g} ({result['peer']})"
        if result["ratio"] is not None:
            text += f", ratio {result['ratio']:.3g}"
        if result["bound"] is not None:
            text += f" (bound {result['bound']:.3g})"
        shares = result["roofline_share"]
        if shares:
            text += ", of the roofline " + " / ".join(f"{share:.0%}" for share in shares.values())
        if result["reached"] is not None:
            text += f"; aim {result['aim']:g}: {'reached' if result['reached'] else 'missed'}"
        found.append(text)
    return found + [f"  warning: {text}" for text in document["warnings"]]


def _run_all(options: list[str], minutes: float | None) -> None:
    """Run every benchmark in a process of its own, so that a failure does not stop the others.

    Raises:
        ValueError: names the benchmarks that failed.
    """
    from mor_core.benchmarks.registry import BENCHMARKS

    failed = []
    for name, entry in BENCHMARKS.items():
        if not entry.in_all:
            continue
        say(f"{name}: {entry.question}")
        command = [sys.executable, "-m", "mor_core.cli", "bench", name, *options]
        command += ["--minutes", str(minutes or entry.minutes)]
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
    if failed:
        raise ValueError(f"these benchmarks failed: {', '.join(failed)}; their errors are above")


def _file(out: Path | None, name: str) -> Path | None:
    if out is None or out.suffix == ".json":
        return out
    return out / f"{name}.json"


def _show_progress(share: float, what: str) -> None:
    """Overwrite the previous progress line on a terminal; print nothing elsewhere."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[2K{share:4.0%} {what[:100]}")
        sys.stderr.flush()
