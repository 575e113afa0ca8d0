"""`mor bench ui`: measures the app in a real browser against its budgets of time, traffic and errors."""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mor_core.benchmarks.harness import Bench
from mor_core.benchmarks.result import Result, fact, spread
from mor_core.benchmarks.ui_driver import Viewer, chromium, serve, view

RATE = 30.0
_PAINT_S, _PIXEL_MS, _STOP_MS = 2.5, 150.0, 500.0
_RUN_BYTES, _TOKEN_BYTES, _SPEED_KEPT = 50 * 1024, 1024.0, 0.9
_UNWATCHED_S = 10.0  # the server cancels a run that no page has polled for longer


@dataclass
class Found:
    """The measurements of all pages."""

    paints_s: list[float] = field(default_factory=list)
    pixels_ms: list[float] = field(default_factory=list)
    stops_ms: list[float] = field(default_factory=list)
    mounts: list[float] = field(default_factory=list)
    run_bytes: list[float] = field(default_factory=list)
    token_bytes: list[float] = field(default_factory=list)
    watched: list[float] = field(default_factory=list)
    unwatched: list[float] = field(default_factory=list)
    console_errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def take(self, viewer: Viewer) -> None:
        """Add a page's console errors and its requests to other hosts."""
        self.console_errors += viewer.console_errors
        self.foreign += viewer.foreign_requests


def run(bench: Bench) -> Iterator[Result]:
    """Measure runs with the event route and with the polling fallback."""
    found = Found()
    bench.planned = 4
    repeats = bench.pick(max(3, bench.repeats), 1)
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        limit = RateLimit(Path(folder))
        with serve("app/bench_server.py", MOR_BENCH=folder) as (address, _):

            def each(what: str, work: Callable[[Viewer], None], count: int) -> None:
                for number in range(count):
                    bench.report(number / count, what)
                    with view(browser, address) as viewer:
                        work(viewer)
                        found.take(viewer)
                bench.finish(what)

            with view(browser, address) as viewer:  # the first run includes imports
                limit.hold(0)
                viewer.run()
                viewer.wait_for("done")
            each("first paint", lambda viewer: found.paints_s.append(viewer.paint_s), repeats + 2)
            each(
                "a run at 30 tokens a second", lambda viewer: _watch(viewer, limit, found), repeats
            )
            each("decode, watched and not", lambda viewer: _race(viewer, limit, found), repeats)
        with serve("app/main.py") as (address, _), view(browser, address) as viewer:
            bench.report(0.0, "a run without the event route")
            _fallback(viewer, found)
            bench.finish("a run without the event route")
    yield from results_of(found)


class RateLimit:
    """The rate limit of `app/bench_server.py` and the times of its tokens, exchanged through files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hold(0)

    def hold(self, rate: float) -> None:
        """Limit the next run to `rate` tokens per second (0: no limit), and clear the recorded times."""
        (self.folder / "rate").write_text(str(rate))
        (self.folder / "known").write_text("")

    def known(self) -> dict[int, float]:
        """Return the time at which each position's token was known, in wall-clock milliseconds."""
        pairs = (line.split() for line in (self.folder / "known").read_text().splitlines())
        return {int(pair[0]): float(pair[1]) for pair in pairs if len(pair) == 2}


def _watch(viewer: Viewer, limit: RateLimit, found: Found) -> None:
    """Watch one whole run at 30 tokens a second, then stop another."""
    limit.hold(RATE)
    before = viewer.socket_bytes
    viewer.run()
    viewer.wait_for("done")
    viewer.page.wait_for_selector(".st-key-live_run button:enabled", timeout=30_000)
    found.run_bytes.append(viewer.socket_bytes - before)
    found.mounts.append(viewer.mounts())
    known, painted = limit.known(), viewer.painted()
    found.pixels_ms += [painted[at] - known[at] for at in known if at in painted]
    limit.hold(RATE)
    viewer.run()
    viewer.wait_for_tokens(16)
    found.stops_ms.append(1000 * viewer.stop())


def _race(viewer: Viewer, limit: RateLimit, found: Found) -> None:
    """Measure the decode rate of a watched run, and of a run whose page has been closed."""
    limit.hold(0)
    viewer.run()
    viewer.wait_for("done")
    found.watched.append(tokens_per_s(limit.known()))
    limit.hold(0)
    viewer.run()
    viewer.page.goto("about:blank")
    gone = 1000 * time.time()
    end, last = time.monotonic() + _UNWATCHED_S, -1
    while time.monotonic() < end and last != (last := len(limit.known())):
        time.sleep(1.0)
    alone = {at: known for at, known in limit.known().items() if known > gone}
    if len(alone) > 16:
        found.unwatched.append(tokens_per_s(alone))


def _fallback(viewer: Viewer, found: Found) -> None:
    before = viewer.socket_bytes
    viewer.run()
    viewer.wait_for("done")
    viewer.page.wait_for_selector(".st-key-live_run button:enabled", timeout=30_000)
    found.token_bytes.append((viewer.socket_bytes - before) / max(1, len(viewer.painted())))
    found.mounts.append(viewer.mounts())
    found.take(viewer)


def tokens_per_s(known: dict[int, float]) -> float:
    """Return the token rate between the first and the last token of a run."""
    times = sorted(known.values())
    return 1000 * (len(times) - 1) / (times[-1] - times[0])


def percentile_95(values: list[float]) -> float:
    """Return the 95th percentile."""
    return (
        statistics.quantiles(values, n=20, method="inclusive")[-1] if len(values) > 1 else values[0]
    )


def results_of(found: Found) -> Iterator[Result]:
    """Yield a result for each budget of the app."""
    one, pixels = statistics.median, found.pixels_ms
    rows = (
        (
            "first paint of a recorded trace, warm server",
            one(found.paints_s),
            "s",
            _PAINT_S,
            found.paints_s,
        ),
        ("token to pixel at 30 tokens/s, p95", percentile_95(pixels), "ms", _PIXEL_MS, pixels),
        ("Stop pressed to shown, worst", max(found.stops_ms), "ms", _STOP_MS, found.stops_ms),
        ("strips mounted in a run, worst", max(found.mounts), "mounts", 1, found.mounts),
        (
            "Streamlit bytes a run, worst",
            max(found.run_bytes),
            "bytes",
            _RUN_BYTES,
            found.run_bytes,
        ),
        (
            "Streamlit bytes a token, fallback",
            max(found.token_bytes),
            "bytes",
            _TOKEN_BYTES,
            found.token_bytes,
        ),
    )
    for row in rows:
        yield _budget(*row)
    for name, noted in (
        ("requests to other hosts", found.foreign),
        ("errors in the console", found.console_errors),
    ):
        yield fact(name, len(noted), "", aim=0, extra={"noted": sorted(set(noted))})
    if not found.unwatched:
        return
    yield fact(
        "decode in the app, watched by a browser on the same machine",
        one(found.watched),
        "tokens/s",
        peer="the same run in the same server, its page gone",
        theirs=one(found.unwatched),
        better="higher",
        aim=_SPEED_KEPT,
        extra={"watched": found.watched, "unwatched": found.unwatched},
    )


def _budget(what: str, value: float, unit: str, aim: float, samples: list[float]) -> Result:
    facts: dict[str, Any] = {"num_samples": len(samples)}
    found = fact(what, value, unit, aim=aim, extra=facts)
    return Result(**{**vars(found), "spread": {"ours": spread(samples)}, "repeats": len(samples)})
