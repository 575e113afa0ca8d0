"""What the Efficiency page says of benchmarks is what their files hold; its own short one runs beside the server."""

import json
import threading
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from app.charts import bench as bench_charts
from app.runs import bench_job
from app.tables import bench_results
from app.views import bench_view
from mor_core.benchmarks.harness import BenchmarkStopped
from mor_core.benchmarks.result import Result, fact, spread, with_ratio
from tests.waiting import PATIENCE_S, wait_for

ENTRY = str(Path(__file__).resolve().parents[2] / "app" / "main.py")
HARDWARE = {
    "processor": "Some *CPU*",
    "threads": 2,
    "dtype": "float32",
    "torch": "2.13",
    "device": "cpu",
}


def document(name, results, **fields):
    return {
        "benchmark": name,
        "question": "?",
        "results": [result.as_dict() for result in results],
        "hardware": HARDWARE,
        "settings": {"quick": False},
        "roofline": {"flops_per_s": 1.5e11, "bytes_per_s": 2.5e10},
        "warnings": [],
        **fields,
    }


def compared(what, ours, theirs, better="higher", **fields):
    middle = {"ours": sorted(ours)[1], "theirs": sorted(theirs)[1]}
    spreads = {"ours": spread(ours), "theirs": spread(theirs)}
    unit = "tokens/s" if better == "higher" else "ms"
    found = Result(what, "a peer", **middle, unit=unit, better=better, spread=spreads, **fields)
    return with_ratio(found)


def growth():
    return [
        compared(
            f"decode at {context}",
            [speed, speed, speed],
            [10.0, 10.0, 10.0],
            extra={
                "context": context,
                "our_kv_bytes": 2**20 * context,
                "their_kv_bytes": 2**21 * context,
            },
        )
        for context, speed in ((256, 12.0), (128, 20.0))
    ]


DOCUMENTS = [
    document(
        "decode", [compared("decode", [30.0, 40.0, 50.0], [10.0, 10.0, 20.0], bound=5.0, aim=4.0)]
    ),
    document(
        "prefill",
        [
            compared(
                "prefill", [60.0, 50.0, 80.0], [120.0, 120.0, 100.0], "lower", bound=0.4, aim=0.75
            )
        ],
    ),
    document("growth", growth(), warnings=["others took 1.00 cores"]),
    document("load", [fact("`mor --help`", 0.7, "s", aim=0.5)], roofline=None),
]


def test_times_as_good_is_above_one_where_we_are_better():
    table = bench_results.results_table(DOCUMENTS).set_index("benchmark")
    assert table.loc["decode", "times_as_good"] == 4.0
    assert table.loc["decode", "bound_times"] == 5.0
    assert table.loc["prefill", "times_as_good"] == 2.0
    assert table.loc["prefill", "bound_times"] == 2.5
    assert table.loc["prefill", "aim_times"] == pytest.approx(4 / 3)
    assert list(table.loc["prefill", ["times_low", "times_high"]]) == [1.25, 2.4]
    assert list(table.loc["decode", ["times_low", "times_high"]]) == [2.5, 4.0]
    assert table.loc["load", "reached"] == False  # noqa: E712  a column of objects


def test_chart_shows_ratio_bound_and_spread_and_says_how_many_aims_are_reached():
    table = bench_results.results_table(DOCUMENTS)
    chart = bench_charts.ratio_points(table)
    bound, aim, measured = chart.figure.data
    assert list(measured.x) == [4.0, 2.0]
    assert list(bound.x)[:2] == [5.0, 2.5]
    assert next(iter(aim.x)) == 4.0
    assert next(iter(measured.error_x.arrayminus)) == 1.5
    assert "2 of the 3 results with a target reach it" in chart.finding
    assert "4.00x (decode, against a peer)" in chart.finding
    assert len(chart.table) == len(table)


def test_results_of_two_machines_are_told_apart_by_their_machine():
    other = {**HARDWARE, "processor": "Intel(R) Xeon(R) Processor", "instructions": "AVX512"}
    documents = [*DOCUMENTS[:2], {**DOCUMENTS[0], "hardware": other}]
    chart = bench_charts.ratio_points(bench_results.results_table(documents))
    names = list(chart.figure.layout.yaxis.ticktext)
    assert names == [
        "Some *CPU*, float32: decode",
        "prefill",
        "Intel Xeon AVX512, float32: decode",
    ]


def test_a_machine_is_named_once_with_the_range_of_its_limits():
    faster = {"flops_per_s": 2e11, "bytes_per_s": 2.5e10}
    bf16 = {**HARDWARE, "dtype": "bfloat16"}
    documents = [
        *DOCUMENTS,  # one of them has no limits
        document("train", [], roofline=faster),
        document("train", [], roofline=faster, hardware=bf16),
    ]
    assert bench_results.hardware_lines(documents) == [
        "Some *CPU* · 2 threads · float32 · torch 2.13 · 150–200 GFLOP/s · 25.0 GB/s",
        "Some *CPU* · 2 threads · bfloat16 · torch 2.13 · 200 GFLOP/s · 25.0 GB/s",
    ]


def test_growth_is_drawn_in_order_of_what_grows():
    grown = bench_results.growth_table(DOCUMENTS, "context")
    assert list(grown["context"]) == [128, 256]
    speed = bench_charts.growth_lines(grown, "context", "tokens_per_s")
    assert [list(line.y) for line in speed.figure.data] == [[20.0, 12.0], [10.0, 10.0]]
    assert speed.finding.startswith(
        "At 256 tokens of context, MoR reaches 12.0 tokens per second and the plain Transformer "
        "10.0 (1.20x)"
    )
    size = bench_charts.growth_lines(grown, "context", "kv_bytes")
    assert list(size.figure.data[0].y) == [128, 256]
    assert bench_results.growth_table(DOCUMENTS, "slots").empty


def served(slots, ratio, bound, *, shape="360M", equal_memory=False, counts=True):
    extra = {
        "shape": shape,
        "num_recursions": 3,
        "equal_memory": equal_memory,
        "our_slots": 24 if equal_memory else slots,
        "their_slots": slots,
        "paper_ratio": 1.95 if equal_memory else 1.33,
        "of_bound": ratio / bound,
        "aim_of_bound": 0.85,
        "counts": counts,
    }
    speeds = [10 * ratio] * 3
    return compared(f"serve on {slots}", speeds, [10.0, 10.0, 8.0], bound=bound, extra=extra)


SERVING = document(
    "serve",
    [
        served(16, 1.2, 1.3),
        served(8, 0.8, 1.0),
        served(16, 1.5, 2.0, equal_memory=True),
        served(32, 1.4, 1.35),
        served(4, 2.4, 1.0, counts=False),
        served(8, 0.9, 1.0, shape="135M"),
        served(32, 1.4, 1.5, shape="135M"),
    ],
)


def test_serving_has_a_panel_a_shape_and_a_line_over_the_slots():
    table = bench_results.serving_table(SERVING)
    assert list(table["shape"]) == ["135M"] * 2 + ["360M"] * 5
    chart = bench_charts.serving_lines(table)
    measured = [line for line in chart.figure.data if line.name == "MoR-3"]
    assert [(list(line.x), list(line.y)) for line in measured] == [
        (["8", "32"], [0.9, 1.4]),
        (["4", "8", "16", "32"], [2.4, 0.8, 1.2, 1.4]),
        (["equal KV memory"], [1.5]),
    ]
    assert {line.xaxis for line in measured} == {"x", "x2"}
    # Else Plotly reads the slots as numbers, and has no place for equal memory.
    assert {axis.type for axis in chart.figure.select_xaxes()} == {"category"}
    titles = [axis.title.text for axis in chart.figure.select_xaxes()]
    assert titles == ["slots, 135M shape", "slots, 360M shape"]
    assert list(measured[2].error_y.array) == pytest.approx([0.375])
    assert measured[2].customdata == ("24 slots against 16; rounds: 1",)
    bounds = [list(line.y) for line in chart.figure.data if line.name is None]
    assert bounds == [[1.0, 1.5], [1.0, 1.0, 1.3, 1.35], [2.0]]


def finding_of(served_document):
    return bench_charts.serving_lines(bench_results.serving_table(served_document)).finding


def test_serving_counts_what_counts_and_holds_against_the_paper_what_it_measured():
    finding = finding_of(SERVING)
    assert "6 of 7 points count; 4 of them reach 85% of the machine's limit" in finding
    assert "1.50x (MoR-3 at 360M, 24 slots against 16; limit 2.00x)" in finding
    assert (
        "At the 2 points with the paper's shape and slots, the machine's limit allows "
        "the paper's ratio at 2; it is reached at 1." in finding
    )
    elsewhere = (
        "the same number of recursions: MoR-3 at 135M, 32 slots against 32 (1.40x, paper 1.33x)."
    )
    assert finding.endswith(elsewhere)
    slower = document("serve", [served(32, 1.3, 1.5, shape="135M")])
    assert "the same number of recursions" not in finding_of(slower)
    none = document("serve", [served(8, 0.8, 1.0, counts=False)])
    assert finding_of(none).startswith("Serving: none of the 1 points counts")


def test_only_a_full_benchmark_of_serving_has_a_chart():
    assert bench_results.serving_table(DOCUMENTS[0]).empty
    assert bench_results.serving_table({**SERVING, "settings": {"quick": True}}).empty


def test_what_has_a_chart_of_its_own_is_not_among_the_other_results():
    table = bench_results.results_table([*DOCUMENTS, SERVING])
    chart = bench_charts.ratio_points(table)
    assert len(chart.figure.data[2].x) == 2  # neither growth nor serving
    assert len(chart.table) == len(table)


@pytest.fixture
def root(tiny_checkpoint, tmp_path, monkeypatch):
    import shutil

    shutil.copytree(tiny_checkpoint, tmp_path / "tiny")
    monkeypatch.setenv("MOR_CHECKPOINTS", str(tmp_path))
    monkeypatch.setenv("MOR_DEVICE", "cpu")
    return tmp_path


def opened(language="en"):
    page = AppTest.from_file(ENTRY, default_timeout=60)
    page.query_params["lang"] = language
    page.session_state["part"] = "peers"
    page = page.switch_page("../pages/efficiency.py").run()
    assert not page.exception
    return page


def text_of(page):
    parts = [*page.markdown, *page.caption, *page.info, *page.error]
    return " ".join(str(part.value) for part in parts).replace("\\", "")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_page_shows_the_files_or_says_how_to_make_them(root, language):
    assert "make bench" in text_of(opened(language))
    (root / "bench").mkdir()
    for found in [*DOCUMENTS, SERVING]:
        (root / "bench" / f"{found['benchmark']}.json").write_text(json.dumps(found))
    (root / "bench" / "broken.json").write_text('{"results": [{}]}')
    page = opened(language)
    shown = text_of(page)
    assert "make bench" not in shown
    said = {"en": ("broken.json is damaged", "2 threads"), "zh": ("broken.json 已损坏", "2 线程")}
    damaged, threads = said[language]
    assert damaged in shown
    assert f"Some *CPU* · {threads} · float32 · torch 2.13 · 150 GFLOP/s · 25.0 GB/s" in shown
    assert "growth: others took 1.00 cores" in shown
    table = next(frame.value for frame in page.dataframe if "times_as_good" in frame.value)
    results = [result for found in [*DOCUMENTS, SERVING] for result in found["results"]]
    assert sorted(table["what"]) == sorted(result["what"] for result in results)
    served = next(frame.value for frame in page.dataframe if "of_bound" in frame.value)
    assert len(served) == len(SERVING["results"])
    assert {"en": "6 of 7 points count", "zh": "7 个测点中有 6 个有效"}[language] in shown
    if language == "en":
        assert "no quality is claimed" in shown


def test_members_are_the_familys_part_and_no_peers(root):
    (root / "bench").mkdir()
    members = document("members", [compared("decode: a", [3.0, 4.0, 5.0], [1.0, 1.0, 1.0])])
    (root / "bench" / "members.json").write_text(json.dumps(members))
    assert "make bench" in text_of(opened())
    (root / "bench" / "decode.json").write_text(json.dumps(DOCUMENTS[0]))
    page = opened()
    table = next(frame.value for frame in page.dataframe if "times_as_good" in frame.value)
    assert table["what"].tolist() == ["decode"]
    assert "4.00x (decode, against a peer)" in text_of(page)
    (root / "bench" / "members.json").write_text("{}")
    assert "members.json is damaged" in text_of(opened())


def test_button_measures_in_a_thread_with_progress_and_saves_nothing(root, monkeypatch):
    goes_on = threading.Event()
    found = document("prefill", [compared("here", [2.0, 2.0, 2.0], [1.0, 1.0, 1.0])])

    def start(name, place):
        def measure(job):
            job.note(0.5, f"{name} on {place()[0]}")
            goes_on.wait(PATIENCE_S)
            return found

        job = bench_job.BenchJob()
        threading.Thread(target=job.work, args=(measure,), daemon=True).start()
        return job

    monkeypatch.setattr(bench_view.bench_job, "start", start)
    page = opened()
    page.button(key="bench_run").click().run()
    assert page.button(key="bench_run").disabled
    goes_on.set()
    wait_for(lambda: page.session_state["bench_job"].is_finished)
    page.run()
    assert not page.exception
    assert "2.00x (here, against a peer)" in text_of(page)
    assert not (root / "bench").exists()


def test_only_one_benchmark_runs_at_a_time_and_an_unwatched_one_stops():
    goes_on = threading.Event()
    first, second = bench_job.BenchJob(), bench_job.BenchJob()

    def measure(job):
        goes_on.wait(PATIENCE_S)
        return {"results": []}

    def stopped(job):
        raise BenchmarkStopped("w")

    threads = [threading.Thread(target=first.work, args=(measure,))]
    threads[0].start()
    wait_for(lambda: not first.waits)
    threads.append(threading.Thread(target=second.work, args=(stopped,)))
    threads[1].start()
    assert second.waits
    assert not second.is_finished
    goes_on.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert first.document == {"results": []}
    assert (second.document, second.message, second.is_finished) == (None, "", True)
    silent = bench_job.BenchJob()
    assert not silent.should_stop()
    silent.last_seen -= bench_job.SILENCE_S + 1
    assert silent.should_stop()


def test_what_goes_wrong_is_said():
    job = bench_job.BenchJob()

    def fail(_):
        raise ValueError("no such device")

    job.work(fail)
    assert (job.message, job.is_finished) == ("no such device", True)
