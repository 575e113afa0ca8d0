"""Describes this machine without naming its host, and measures how busy other processes keep it."""

import os
import platform
import time
from pathlib import Path
from typing import Any

BUSY_CORES = 0.25
"""With more cores than this kept busy by other processes, measurements are not reliable."""


def processor_name() -> str:
    """Return the processor's name."""
    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux: keep the name that `platform` gives
    return name


def describe_machine(device: str, dtype: str) -> dict[str, Any]:
    """Return the facts that measurements depend on, as plain data.

    Args:
        device: such as `cpu` or `cuda:0`.
        dtype: such as `float32`.
    """
    import torch

    found: dict[str, Any] = {
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "memory_bytes": memory_bytes(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": device,
        "dtype": dtype,
    }
    if device.startswith("cuda"):
        facts = torch.cuda.get_device_properties(torch.device(device))
        found |= {"gpu": facts.name, "gpu_memory_bytes": facts.total_memory}
    return found


def memory_bytes() -> int | None:
    """Return the machine's memory in bytes; `None` if the system does not report it."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None


class OtherWork:
    """Counts the processor time that others take from now on: other processes and other guests of the host."""

    def __init__(self) -> None:
        self._wall = time.monotonic()
        self._mine, self._all = own_seconds(), busy_seconds()

    def cores(self) -> float | None:
        """Return how many cores others have kept busy on average; `None` if the system does not report it."""
        busy, wall = busy_seconds(), time.monotonic() - self._wall
        if self._all is None or busy is None or wall <= 0:
            return None
        mine = own_seconds() - self._mine
        return max(0.0, (busy - self._all - mine) / wall)


def own_seconds() -> float:
    """Return the processor time of this process and of its ended child processes, in seconds."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def busy_seconds(path: Path = Path("/proc/stat")) -> float | None:
    """Return the processor time that all processes and the host's other guests have taken since boot, in seconds.

    `None` if the system does not report it.
    """
    try:
        first = path.read_text(encoding="ascii").splitlines()[0].split()
    except (OSError, IndexError):
        return None
    user, nice, system, _idle, _wait, interrupts, soft, stolen = map(int, first[1:9])
    return (user + nice + system + interrupts + soft + stolen) / os.sysconf("SC_CLK_TCK")
