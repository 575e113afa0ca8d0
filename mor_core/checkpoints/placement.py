"""The device and dtype that a model runs on: checks them, reports memory, and recognises out-of-memory errors.

torch is imported only if a GPU may be used.
"""

import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from mor_core.common.errors import UserError

if TYPE_CHECKING:
    import torch

DTYPE_NAMES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
"""torch's names of the dtypes that a model can run in, by short name."""
DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_DEVICE = re.compile(r"cpu|mps|cuda(:\d{1,3})?")


class PlacementError(UserError):
    """The model cannot run on this device or in this dtype; the message says what to do."""


@dataclass(frozen=True)
class Placement:
    """The device and dtype that a model runs on.

    Attributes:
        device: such as `cpu` or `cuda:0`.
        dtype: torch's name, such as `float32`.
    """

    device: str
    dtype: str

    @property
    def on_gpu(self) -> bool:
        """Whether the device is a CUDA GPU, which has its own memory."""
        return self.device.startswith("cuda")


@dataclass(frozen=True)
class DeviceMemory:
    """A GPU's memory in bytes: held by this process's tensors, free, and total."""

    name: str
    held: int
    free: int
    total: int


def placement(device: str = "auto", dtype: str = "auto") -> Placement:
    """Return a checked placement; `auto` means a GPU in bfloat16 if there is one, else the CPU in float32.

    Raises:
        PlacementError: this machine has no such device, or the dtype is unknown.
    """
    if device == "auto":
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
    if not _DEVICE.fullmatch(device):
        raise PlacementError(f"device must be auto, cpu, mps, cuda or cuda:N, got {device!r}")
    if device != "cpu":
        _check_accelerator(device)
    if dtype == "auto":
        dtype = "bfloat16" if device.startswith("cuda") else "float32"
    full = DTYPE_NAMES.get(dtype, dtype)
    if full not in DTYPE_BYTES:
        known = ", ".join(["auto", *DTYPE_BYTES, *DTYPE_NAMES])
        raise PlacementError(f"dtype must be {known}, got {dtype!r}")
    return Placement(device, full)


def known_devices() -> list[str]:
    """Return the devices of this machine; only the CPU if torch has not been imported yet."""
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "cuda"):
        return ["cpu"]
    cuda = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return [*cuda, *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]


def process_bytes() -> int:
    """Return this process's resident set size in bytes."""
    import psutil

    return int(psutil.Process().memory_info().rss)


def machine_bytes() -> tuple[int, int]:
    """Return the available and the total main memory in bytes."""
    import psutil

    memory = psutil.virtual_memory()
    return int(memory.available), int(memory.total)


def gpu_memory() -> list[DeviceMemory]:
    """Return the memory of every GPU; empty if torch has not been imported yet."""
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "cuda") or not torch.cuda.is_available():
        return []
    found = []
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        held = torch.cuda.memory_allocated(index)
        found.append(DeviceMemory(f"cuda:{index}", int(held), int(free), int(total)))
    return found


def check_room(name: str, num_parameters: int, place: Placement) -> None:
    """Refuse to load a model whose weights alone exceed the free memory.

    Raises:
        PlacementError: the weights exceed the free memory.
    """
    needed = num_parameters * DTYPE_BYTES[place.dtype]
    if place.on_gpu:
        index = int(place.device.partition(":")[2] or 0)
        free = next((gpu.free for gpu in gpu_memory() if gpu.name == f"cuda:{index}"), needed)
    else:
        free = machine_bytes()[0]
    if needed > free:
        raise PlacementError(
            f"{name} needs {needed / 2**20:,.0f} MiB for its weights in {place.dtype}, {place.device} has "
            f"{free / 2**20:,.0f} MiB left; {_remedy(place.dtype)}",
            "no_room",
            name=name,
            needed=needed / 2**20,
            free=free / 2**20,
            dtype=place.dtype,
            device=place.device,
        )


def exhausted_memory(error: BaseException) -> Literal["gpu", "machine"] | None:
    """Return which memory an out-of-memory error is about; `None` for any other error."""
    text = str(error)
    on_gpu = type(error).__name__ == "OutOfMemoryError" or "CUDA out of memory" in text
    if not (on_gpu or isinstance(error, MemoryError) or "can't allocate memory" in text):
        return None
    return "gpu" if on_gpu else "machine"


def release_unused() -> None:
    """Free memory that nothing refers to any more, on the GPU too."""
    import gc

    gc.unfreeze()  # loading a model froze all objects; the collector must see the model's again
    gc.collect()
    gc.freeze()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def model_bytes(model: "torch.nn.Module") -> int:
    """Return the bytes of a model's parameters and buffers; tied ones count once."""
    tensors = {id(item): item for item in [*model.parameters(), *model.buffers()]}
    return sum(item.numel() * item.element_size() for item in tensors.values())


def _check_accelerator(device: str) -> None:
    import torch

    if device == "mps":
        if not torch.backends.mps.is_available():
            raise PlacementError("device mps was requested, but this machine has none; use cpu")
        return
    if not torch.cuda.is_available():
        raise PlacementError(
            f"device {device} was requested, but this machine has no usable GPU; use cpu",
            "no_gpu",
            device=device,
        )
    index = int(device.partition(":")[2] or 0)
    if index >= torch.cuda.device_count():
        raise PlacementError(
            f"device {device} was requested, but this machine has {torch.cuda.device_count()} GPUs, "
            "numbered from 0",
            "no_such_gpu",
            device=device,
            count=torch.cuda.device_count(),
        )


def _remedy(dtype: str) -> str:
    smaller = "" if dtype in ("bfloat16", "float16") else "load the model in bfloat16, "
    return f"{smaller}unload other models on the Checkpoints page, or request a shorter text"
