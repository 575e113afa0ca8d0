"""What `mor bench ui` makes of what the browser noted, and the rate-limited app that it watches."""

import itertools
import os
import subprocess
import sys
import time
from pathlib import Path

from mor_core.benchmarks import soak as soak_benchmark
from mor_core.benchmarks import ui as ui_benchmark
from mor_core.benchmarks.registry import BENCHMARKS

ROOT = Path(__file__).resolve().parents[2]


def test_rates_and_percentiles_by_hand():
    assert ui_benchmark.tokens_per_s({5: 3000.0, 3: 1000.0, 4: 1500.0}) == 1.0
    assert ui_benchmark.percentile_95([float(value) for value in range(101)]) == 95.0
    assert ui_benchmark.percentile_95([7.0]) == 7.0


def test_every_budget_of_the_app_has_its_result():
    found = ui_benchmark.Found(
        paints_s=[1.0, 2.0, 4.0],
        pixels_ms=[100.0] * 99 + [1000.0],
        stops_ms=[100.0, 600.0],
        mounts=[1, 1],
        run_bytes=[10_000.0],
        token_bytes=[900.0],
        watched=[95.0],
        unwatched=[100.0],
        console_errors=["broken"],
    )
    results = {result.what: result for result in ui_benchmark.results_of(found)}
    reached = [result.reached for result in results.values()]
    assert reached == [True, True, False, True, True, True, True, False, True]
    assert results["first paint of a recorded trace, warm server"].ours == 2.0
    assert results["errors in the console"].extra == {"noted": ["broken"]}
    (slowdown,) = (result for result in results.values() if result.peer)
    assert slowdown.ratio == 0.95


def test_the_rate_limit_notes_when_a_token_is_known_and_holds_it_to_the_rate(tmp_path):
    limit = ui_benchmark.RateLimit(tmp_path)
    limit.hold(20)
    code = (
        "from tests.scripted import scripted_trace\n"
        "from app import bench_server\nfrom app.runs.jobs import job_manager\n"
        "from mor_core.traces.trace_updates import TraceUpdate\n"
        "from tests.waiting import wait_for\n"
        "trace = scripted_trace()\n"
        "def work(_):\n"
        "    for token in trace.tokens[:4]:\n"
        "        yield TraceUpdate(trace.header, [], token)\n"
        "    yield TraceUpdate(trace.header, trace.tokens, None)\n"
        "job = job_manager().submit('model', work)\n"
        "wait_for(lambda: job.is_finished)\n"
        "assert [e['newest']['position'] for e in job.events[1:5]] == [0, 1, 2, 3]\n"
    )
    before = 1000 * time.time()
    environment = {**os.environ, "MOR_BENCH": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env=environment)
    known = limit.known()
    assert list(known) == [0, 1, 2, 3]
    times = list(known.values())
    assert all(later - earlier >= 49 for earlier, later in itertools.pairwise(times))
    assert before < times[0] < 1000 * time.time()


def test_memory_of_a_process_is_read_from_the_system(tmp_path):
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "status").write_text("Name: x\nVmRSS:\t    2048 kB\n")
    assert soak_benchmark.resident_bytes(7, tmp_path) == 2 * 2**20
    assert soak_benchmark.resident_bytes(8, tmp_path) == 0


def test_all_leaves_the_soak_out_and_ends_within_forty_minutes():
    minutes = [entry.minutes for entry in BENCHMARKS.values() if entry.in_all]
    assert sum(minutes) <= 40
    assert not BENCHMARKS["soak"].in_all
