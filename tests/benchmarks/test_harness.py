"""The harness: order, medians, spreads, ratios and bounds by hand, with a clock that the sides themselves turn."""

import json
import sys
from types import SimpleNamespace

import pytest

from mor_core.benchmarks import registry
from mor_core.benchmarks.harness import Bench, BenchmarkStopped, Side, threads
from mor_core.benchmarks.memory import cache_bytes
from mor_core.benchmarks.registry import (
    BENCHMARKS,
    Entry,
    Settings,
    busy_warnings,
    run_benchmark,
    save,
)
from mor_core.benchmarks.result import fact, spread, with_ratio
from mor_core.benchmarks.roofline import Cost, Roofline, measure_roofline
from mor_core.cli.cli_bench import lines
from mor_core.common import machine
from tests.models import tiny_config


class Clock:
    """Stands still unless somebody works."""

    def __init__(self):
        self.now = 0.0
        self.log = []

    def __call__(self):
        return self.now

    def side(self, name, seconds, **fields):
        times = iter(seconds)

        def run():
            self.log.append(name)
            self.now += next(times)

        return Side(name, run, **fields)


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr("gc.collect", lambda: 0)  # walks all of torch
    return Clock()


def bench_with(clock, **fields):
    return Bench(clock=clock, **{"warm_ups": 1, "repeats": 3, **fields})


def test_sides_take_turns_and_warm_ups_do_not_count(clock):
    ours = clock.side("A", [100, 1, 2, 4], work=8)
    theirs = clock.side("B", [100, 4, 4, 2], work=8)
    result = bench_with(clock).compare("w", ours, theirs, unit="tokens/s", aim=2.0)
    assert clock.log == ["A", "B"] * 4
    assert (result.ours, result.theirs, result.ratio) == (4.0, 2.0, 2.0)
    assert result.spread["ours"].samples == [8.0, 4.0, 2.0]
    assert (result.spread["ours"].min, result.spread["ours"].max) == (2.0, 8.0)
    assert (result.peer, result.repeats, result.better) == ("B", 3, "higher")
    assert result.reached


def test_any_number_of_sides_take_turns_and_are_held_against_one(clock):
    times = {"A": [100, 1, 2, 4], "B": [100, 4, 4, 2], "C": [100, 8, 8, 8]}
    sides = [clock.side(name, seconds, work=8) for name, seconds in times.items()]
    found = bench_with(clock).compare_all("w", sides, sides[1], unit="tokens/s", note="n")
    assert clock.log == ["A", "B", "C"] * 4
    assert [result.what for result in found] == ["w: A", "w: B", "w: C"]
    assert [result.ours for result in found] == [4.0, 2.0, 1.0]
    assert [result.peer for result in found] == ["B", None, "B"]
    assert [result.ratio for result in found] == [2.0, None, 0.5]
    assert found[0].spread["theirs"].samples == [2.0, 2.0, 4.0]
    assert [result.repeats for result in found] == [3, 3, 3]
    assert {result.note for result in found} == {"n"}


@pytest.mark.parametrize(("deadline", "repeats"), [(100, 3), (17, 2), (16, 1), (7, 0), (0, 0)])
def test_time_that_is_up_drops_the_round_under_way(clock, deadline, repeats):
    sides = [clock.side(name, [2] * 4) for name in "ABC"]
    bench = bench_with(clock, deadline=deadline)
    found = bench.compare_all("w", sides, unit="s")
    assert [result.repeats for result in found] == [repeats] * (3 if repeats else 0)
    assert len(clock.log) == min(-(-deadline // 2), 12)
    assert bench.finished == 1


def test_less_time_is_better_and_preparing_is_not_timed(clock):
    def wait():
        clock.now += 1000

    ours = clock.side("A", [9, 3, 3, 3], prepare=wait)
    theirs = clock.side("B", [9, 4, 4, 4])
    result = bench_with(clock).compare("w", ours, theirs, unit="ms", aim=0.7)
    assert (result.ours, result.theirs, result.ratio) == (3000.0, 4000.0, 0.75)
    assert (result.better, result.reached) == ("lower", False)


def test_bound_is_the_ratio_at_the_roofline_and_phases_add_up(clock):
    roofline = Roofline(flops_per_s=10.0, bytes_per_s=100.0)
    bench = bench_with(clock, roofline=roofline)
    ours = clock.side("A", [1, 4, 4, 4], costs=[Cost(20, 1), Cost(1, 100)])  # 2 s + 1 s
    theirs = clock.side("B", [1, 8, 8, 8], costs=lambda: [Cost(60, 0)])  # 6 s
    times = bench.compare("w", ours, theirs, unit="s")
    assert times.bound == pytest.approx(0.5)
    assert times.roofline_share == {"ours": 0.75, "theirs": 0.75}
    ours, theirs = (
        clock.side("A", [1, 4, 4, 4], work=2, costs=ours.costs),
        clock.side("B", [1, 8, 8, 8], work=2, costs=theirs.costs),
    )
    assert bench.compare("w", ours, theirs, unit="x/s").bound == pytest.approx(2.0)


def test_nothing_is_claimed_without_a_peer_or_a_roofline(clock):
    result = bench_with(clock).compare("w", clock.side("A", [1, 2, 2, 2]), unit="s", aim=1.0)
    assert (result.theirs, result.ratio, result.bound, result.peer) == (None, None, None, None)
    assert result.roofline_share == {}
    assert result.reached is False
    assert fact("w", 3, "bytes").reached is None


def test_quartiles_by_hand():
    assert spread([1.0, 2.0, 3.0, 4.0, 5.0]).iqr == 2.0
    assert spread([7.0]).iqr == 0.0


def test_progress_rises_to_one_and_stop_ends_between_runs(clock):
    told = []
    bench = bench_with(clock, planned=2, on_progress=lambda share, what: told.append((share, what)))
    for what in ("first", "second"):
        bench.compare(what, clock.side("A", [1] * 4), unit="s")
    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert next(what for share, what in told if share == 0.5) == "first"
    bench.should_stop = lambda: len(clock.log) >= 10
    with pytest.raises(BenchmarkStopped):
        bench.compare("third", clock.side("A", [1] * 4), unit="s")
    assert len(clock.log) == 10


def test_threads_are_given_back():
    import torch

    before = torch.get_num_threads()
    with threads(before + 1) as count:
        assert count == torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_roofline_finds_rates_from_the_clock(clock):
    def tick():
        clock.now += 0.5
        return clock.now

    found = measure_roofline(quick=True, clock=tick)
    assert found.measured["512 x 512 x 512 FLOP/s"] == 2 * 512**3 / 0.5
    assert (
        found.flops_per_s
        == found.measured["128 x 576 x 1536 FLOP/s"]
        == 24 * 2 * 128 * 576 * 1536 / 0.5
    )
    assert found.bytes_per_s == found.measured["copying, B/s"] == 2 * 2**26 / 0.5


@pytest.fixture
def quiet(monkeypatch):
    monkeypatch.setattr(registry, "busy_warnings", lambda: [])
    monkeypatch.setattr(registry, "BUSY_CORES", 99.0)


@pytest.fixture
def fake(monkeypatch):
    """A registered benchmark of two results; the second can be made to fail."""
    state = {"fails": False}

    def run(bench):
        yield fact("one", 1, "bytes")
        if state["fails"]:
            raise ValueError("no")
        yield fact("two", 2, "bytes", peer="p", theirs=4)

    monkeypatch.setitem(BENCHMARKS, "fake", Entry("Is it?", 1, needs_quiet=False))
    monkeypatch.setitem(sys.modules, "mor_core.benchmarks.fake", SimpleNamespace(run=run))
    return state


def test_a_document_says_what_was_measured_and_where(fake, quiet, tmp_path):
    path = tmp_path / "deep" / "fake.json"
    document = run_benchmark("fake", Settings(quick=True), path=path)
    assert json.loads(path.read_text()) == document
    assert [result["what"] for result in document["results"]] == ["one", "two"]
    named = {"what", "peer", "ours", "theirs", "unit", "ratio", "bound", "repeats", "spread"}
    assert all(named <= set(result) for result in document["results"])
    assert document["results"][1]["ratio"] == 0.5
    assert {"processor", "cores", "threads", "memory_bytes", "torch", "device", "dtype"} <= set(
        document["hardware"]
    )
    assert document["settings"]["quick"] is True
    assert document["complete"] is True
    import platform

    assert platform.node() not in json.dumps(document["hardware"])
    assert "two: 2 bytes against 4 (p), ratio 0.5" in "\n".join(lines(document))


def test_what_was_found_before_a_failure_is_kept_and_the_old_file_too(fake, quiet, tmp_path):
    path = tmp_path / "fake.json"
    save({"old": True}, path)
    fake["fails"] = True
    with pytest.raises(ValueError, match="no"):
        run_benchmark("fake", Settings(), path=path)
    assert json.loads(path.read_text()) == {"old": True}
    kept = json.loads(path.with_suffix(".partial").read_text())
    assert [result["what"] for result in kept["results"]] == ["one"]


def test_a_busy_machine_overwrites_nothing_unless_told(fake, monkeypatch, tmp_path):
    monkeypatch.setitem(BENCHMARKS, "fake", Entry("Is it?", 1))
    monkeypatch.setattr(registry, "busy_warnings", lambda: ["others take 1.50 cores"])
    monkeypatch.setattr(
        "mor_core.benchmarks.roofline.measure_roofline", lambda *_, **__: Roofline(1.0, 1.0)
    )
    path = tmp_path / "fake.json"
    document = run_benchmark("fake", Settings(), path=path)
    assert "others take 1.50 cores" in document["warnings"]
    with pytest.raises(ValueError, match=r"fake.json .* --force"):
        run_benchmark("fake", Settings(), path=path)
    run_benchmark("fake", Settings(force=True), path=path)


def test_others_are_told_apart_from_this_process(monkeypatch):
    seconds = {"busy": 100.0, "mine": 10.0, "wall": 0.0}
    monkeypatch.setattr(machine, "busy_seconds", lambda: seconds["busy"])
    monkeypatch.setattr(machine, "own_seconds", lambda: seconds["mine"])
    monkeypatch.setattr(machine.time, "monotonic", lambda: seconds["wall"])
    monkeypatch.setattr(
        registry.time, "sleep", lambda _: seconds.update(busy=103.0, mine=11.0, wall=4.0)
    )
    assert busy_warnings() == ["others take 0.50 cores of this machine"]
    seconds.update(busy=100.0, mine=10.0, wall=0.0)
    monkeypatch.setattr(
        registry.time, "sleep", lambda _: seconds.update(busy=101.0, mine=11.0, wall=4.0)
    )
    assert busy_warnings() == []


def test_unknown_benchmark_names_those_there_are():
    with pytest.raises(ValueError, match=r"one of .*memory.*got 'speed'"):
        run_benchmark("speed", Settings())


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_has_its_module(name):
    import importlib

    assert callable(importlib.import_module(f"mor_core.benchmarks.{name}").run)


@pytest.mark.parametrize(
    "fields",
    [{}, {"kv_strategy": "shared"}, {"router_type": "none", "num_recursions": 1}],
    ids=["recursion-wise", "shared keys", "vanilla"],
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_cache_bytes_equal_the_formula(fields, dtype):
    wide = {"head_dim": 24, "num_key_value_heads": 1, "max_position_embeddings": 256}
    for changes in ({}, wide):
        measured, counted = cache_bytes(tiny_config(**{**fields, **changes}), dtype=dtype)
        assert measured == counted > 0


def test_a_result_that_cannot_be_compared_has_no_ratio():
    assert with_ratio(fact("w", 1, "s")).ratio is None
