"""`mor bench soak`: repeats a run in one page and measures how the memory of browser and server grows."""

import time
from collections.abc import Iterator
from pathlib import Path

from mor_core.benchmarks.harness import Bench
from mor_core.benchmarks.result import Result, fact
from mor_core.benchmarks.ui_driver import Viewer, chromium, serve, view

_MINUTES, _QUICK_MINUTES, _WARM_RUNS = 20.0, 0.5, 3
_AIM_BYTES = 50 * 2**20


def run(bench: Bench) -> Iterator[Result]:
    """Repeat the same run until the time is over."""
    seconds = 60 * bench.pick(_MINUTES, _QUICK_MINUTES)
    what = "repeated runs in one page"
    with (
        serve("app/asgi.py") as (address, process),
        chromium() as browser,
        view(browser, address) as viewer,
    ):
        for _ in range(_WARM_RUNS):
            _one(viewer)
        heaps, residents = [viewer.heap_bytes()], [resident_bytes(process)]
        started = time.monotonic()
        while (passed := time.monotonic() - started) < seconds:
            bench.report(passed / seconds, what)
            _one(viewer)
            heaps.append(viewer.heap_bytes())
            residents.append(resident_bytes(process))
        bench.finish(what)
        console_errors = list(viewer.console_errors)
    runs = f"{len(heaps) - 1} runs in {passed / 60:.1f} minutes, after {_WARM_RUNS} to warm up"
    yield fact(
        "growth of the page's JavaScript heap",
        heaps[-1] - heaps[0],
        "bytes",
        aim=_AIM_BYTES,
        note=runs,
        extra={"bytes": heaps},
    )
    yield fact(
        "growth of the server's memory",
        residents[-1] - residents[0],
        "bytes",
        note=runs,
        extra={"bytes": residents},
    )
    yield fact(
        "errors in the console",
        len(console_errors),
        "errors",
        aim=0,
        extra={"noted": sorted(set(console_errors))},
    )


def resident_bytes(process: int, root: Path = Path("/proc")) -> int:
    """Return the resident memory of a process in bytes; 0 if the system does not report it."""
    try:
        lines = (root / str(process) / "status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def _one(viewer: Viewer) -> None:
    viewer.run()
    viewer.wait_for("done")
