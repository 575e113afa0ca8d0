"""What went wrong is said in the viewer's language, also by a worker, and nothing internal with it."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.runs import jobs
from app.runs.bench_job import BenchJob
from app.text import words
from app.text.error_messages import problem_text
from mor_core.checkpoints import placement as placing
from mor_core.checkpoints.checkpoint import CheckpointError, describe_checkpoint
from mor_core.checkpoints.checkpoint_roots import allowed_folder
from mor_core.checkpoints.placement import Placement, PlacementError, check_room, placement
from mor_core.generation.generation_run import checked_text
from mor_core.server.jobs import JobStatus
from mor_core.traces.trace_file import TraceError, load_trace
from tests.scripted import TraceUpdate
from tests.waiting import wait_for

CHINESE = re.compile("[一-鿿]")
ENGLISH = re.compile(r"[a-z]{3,} [a-z]{3,} [a-z]{3,}")


def no_gpu() -> None:
    placement("cuda")


def no_room() -> None:
    check_room("large", 2**20, Placement("cpu", "float32"))


CODED: list[tuple[Callable[[], object], str, str]] = [
    (lambda: checked_text(" ", 5), "at least one word", "至少输入一个词"),
    (lambda: checked_text("a" * 2000, 1000), "1,000 characters, it has 2,000", "最多 1,000 个字符"),
    (no_gpu, "no usable GPU", "没有可用的 GPU"),
    (no_room, "needs 4 MiB .* has 1 MiB", "需要 4 MiB.*只剩 1 MiB"),
    (lambda: allowed_folder(""), "must have a name", "没有给出文件夹"),
    (lambda: allowed_folder("/", [Path("/no/such")]), "under /no/such", "须位于 /no/such 之下"),
]


@pytest.mark.parametrize(("cause", "english", "chinese"), CODED)
def test_what_a_viewer_can_cause_is_said_whole(
    cause: Callable[[], object], english: str, chinese: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(placing, "machine_bytes", lambda: (2**20, 2**30))
    with pytest.raises(ValueError, match=r"\w") as caught:
        cause()
    assert re.search(english, problem_text(caught.value, "en"))
    said = problem_text(caught.value, "zh")
    assert re.search(chinese, said)
    assert not ENGLISH.search(said)


@pytest.mark.parametrize(
    ("error", "lead"),
    [
        (CheckpointError("config.json is missing"), "检查点无法使用"),
        (TraceError("the trace file is cut off"), "不是可用的轨迹文件"),
        (PlacementError("device must be auto"), "模型不能在那里运行"),
        (FileNotFoundError("no such file"), "文件无法读写"),
        (ValueError("seed must lie between 0 and 9"), "无法执行所请求的操作"),
    ],
)
def test_other_words_of_the_library_follow_as_detail(error: Exception, lead: str) -> None:
    assert problem_text(error, "en") == str(error)
    said = problem_text(error, "zh")
    assert said.startswith(lead)
    assert said.endswith(f"详情（英文）：{error}")


def test_errors_of_real_files_are_known_kinds(tmp_path: Path) -> None:
    for read in (describe_checkpoint, load_trace):
        with pytest.raises(ValueError, match=r"\w") as caught:
            read(tmp_path / "none")
        assert not problem_text(caught.value, "zh").startswith("无法执行所请求的"), read


@pytest.mark.parametrize("language", words.LANGUAGES)
def test_nothing_internal_is_said(language: str) -> None:
    said = problem_text(KeyError("secret"), language)
    assert "KeyError" in said
    assert "secret" not in said
    assert "bfloat16" in problem_text(MemoryError("secret"), language)
    assert "secret" not in problem_text(MemoryError("secret"), language)


def test_a_worker_speaks_the_language_of_who_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Callable[[], bool]) -> Iterator[TraceUpdate]:
        checked_text("", 5)
        yield from ()

    monkeypatch.setattr(words._Viewer, "language", staticmethod(lambda: "zh"))
    job, bench = jobs.submit("error messages", broken), BenchJob()
    monkeypatch.setattr(words._Viewer, "language", staticmethod(lambda: "en"))
    wait_for(lambda: job.is_finished)
    assert job.status is JobStatus.FAILED
    assert CHINESE.search(jobs.failure(job))
    bench.work(lambda _: no_such_device())
    assert CHINESE.search(bench.message)
    assert jobs.submit("error messages", broken).language == "en"


def no_such_device() -> dict[str, object]:
    raise PlacementError("device tpu", "no_gpu", device="tpu")
