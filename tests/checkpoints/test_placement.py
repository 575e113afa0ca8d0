"""Where models may lie and run: roots, devices, types, and what is said when memory is short."""

import os
from pathlib import Path

import pytest

from mor_core.checkpoints import placement as placing
from mor_core.checkpoints.checkpoint import CheckpointError, list_checkpoints, resolve_checkpoint
from mor_core.checkpoints.checkpoint_roots import allowed_folder, checkpoint_roots
from mor_core.checkpoints.placement import (
    Placement,
    PlacementError,
    check_room,
    exhausted_memory,
    placement,
    process_bytes,
)


@pytest.fixture
def roots(tmp_path: Path) -> list[Path]:
    for name in ("first/run-1/best", "second", "outside/secret"):
        (tmp_path / name).mkdir(parents=True)
    return [tmp_path / "first", tmp_path / "second"]


def test_folders_under_a_root_are_found_by_name_and_by_path(roots: list[Path]) -> None:
    best = (roots[0] / "run-1" / "best").resolve()
    assert allowed_folder("run-1/best", roots) == best
    assert allowed_folder(f"  {best} ", roots) == best
    assert allowed_folder(str(roots[1]), roots) == roots[1].resolve()


@pytest.mark.parametrize("path", ["../outside/secret", "{outside}", "/etc", "link"])
def test_a_path_outside_is_refused_with_the_roots(roots: list[Path], path: str) -> None:
    outside = roots[0].parent / "outside"
    (roots[0] / "link").symlink_to(outside)
    (roots[1] / "link").symlink_to(outside)
    with pytest.raises(CheckpointError, match=r"must lie under .*first.*second.*MOR_CHECKPOINTS"):
        allowed_folder(path.format(outside=outside), roots)


def test_a_missing_folder_is_answered_with_those_there_are(roots: list[Path]) -> None:
    with pytest.raises(CheckpointError, match=r"no folder 'run-1/last'.*holds: best"):
        allowed_folder("run-1/last", roots)
    for empty in ("", "  ", "a\0b"):
        with pytest.raises(CheckpointError, match="must have a name"):
            allowed_folder(empty, roots)


def test_several_roots_are_listed_together(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    for root in (first, second):
        root.mkdir()
        (root / "tiny").symlink_to(tiny_checkpoint)
    (second / "own").symlink_to(tiny_checkpoint)
    monkeypatch.setenv("MOR_CHECKPOINTS", os.pathsep.join([str(first), str(second)]))
    assert checkpoint_roots() == [first, second]
    assert [info.name for info in list_checkpoints()] == ["tiny", "b/tiny", "own"]
    assert resolve_checkpoint("own") == second / "own"


def test_cpu_takes_float32_unless_told() -> None:
    assert placement("cpu") == Placement("cpu", "float32")
    assert placement("cpu", "bf16") == Placement("cpu", "bfloat16")


@pytest.mark.parametrize(
    ("device", "dtype", "said"),
    [
        ("tpu", "auto", "device must be auto, cpu, mps, cuda or cuda:N, got 'tpu'"),
        ("cpu", "int4", "dtype must be .*bfloat16.*got 'int4'"),
    ],
)
def test_unknown_places_are_refused(device: str, dtype: str, said: str) -> None:
    with pytest.raises(PlacementError, match=said):
        placement(device, dtype)


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(PlacementError, match="no usable GPU; use cpu"):
        placement("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(PlacementError, match="has 2 GPUs, numbered from 0"):
        placement("cuda:2")
    assert placement("cuda:1") == placement("auto", "bf16").__class__("cuda:1", "bfloat16")


def test_weights_larger_than_the_memory_are_refused_before_they_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(placing, "machine_bytes", lambda: (2**20, 2**30))
    check_room("small", 2**18, Placement("cpu", "float32"))
    with pytest.raises(PlacementError, match=r"4 MiB .* in float32, cpu has 1 MiB left.*bfloat16"):
        check_room("large", 2**20, Placement("cpu", "float32"))


def test_lack_of_memory_is_told_from_other_errors() -> None:
    import torch

    on_gpu = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
    assert exhausted_memory(on_gpu) == "gpu"
    assert exhausted_memory(MemoryError()) == "machine"
    text = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"
    assert exhausted_memory(RuntimeError(text)) == "machine"
    assert exhausted_memory(RuntimeError("shapes differ")) is None


def test_the_process_has_some_memory() -> None:
    assert process_bytes() > 2**20
