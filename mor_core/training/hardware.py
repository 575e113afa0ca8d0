"""What this machine is and multiplies fast, how much memory a process took, and Accelerate started on it."""

import resource
import sys
from typing import Any

import torch
from accelerate.accelerator import Accelerator
from accelerate.state import PartialState
from accelerate.utils import parse_flag_from_env

from mor_core.common.machine import processor_name
from mor_core.training.recipe import Recipe
from mor_core.training.run_state import TrainingError


def hardware(device: torch.device) -> str:
    """Return the processor, and the number of threads on a CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{processor_name()}, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"


def peak_memory_bytes(device: torch.device) -> int:
    """Return the most memory that this process held: on the GPU, else as resident set."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def multiplies_bf16_natively(device: torch.device) -> bool:
    """Whether bf16 is faster than float32 here; without the instructions a CPU is many times slower."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    has = torch.cpu.get_capabilities()
    return bool(has.get("avx512_bf16") or has.get("amx_bf16") or has.get("bf16"))


def start_accelerator(recipe: Recipe) -> Accelerator:
    """Start Accelerate with the recipe's precision and accumulation.

    Raises:
        TrainingError: the batch does not divide among the processes.
    """
    # Asked for the CPU, Accelerate joins CPU processes under torchrun; not asked, each would train alone.
    on_cpu = not torch.accelerator.is_available() or parse_flag_from_env("ACCELERATE_USE_CPU")
    probe: Any = PartialState(cpu=on_cpu)  # its attributes are typed as possibly missing
    num_processes: int = probe.num_processes
    device: torch.device = probe.device
    sequences = recipe.run.batch_tokens // recipe.sequence_tokens
    at_once = recipe.run.micro_batch * num_processes
    if sequences % at_once:
        raise TrainingError(
            "[run] batch_tokens must be a multiple of micro_batch x context x processes, got "
            f"{sequences} sequences for {num_processes} processes of {recipe.run.micro_batch}; "
            "change micro_batch"
        )
    wanted = recipe.run.precision
    if wanted == "auto":
        wanted = "bf16" if multiplies_bf16_natively(device) else "fp32"
    return Accelerator(
        cpu=on_cpu,
        mixed_precision="bf16" if wanted == "bf16" else "no",
        gradient_accumulation_steps=sequences // at_once,
    )


def precision(accelerator: Accelerator) -> str:
    """Return what products are computed in while training: `bf16`, weights staying float32, or `fp32`."""
    return "bf16" if accelerator.mixed_precision == "bf16" else "fp32"


def leave_group(accelerator: Accelerator) -> None:
    """Leave the group of processes; the caller has let its model go.

    A process that exits as a member is aborted by the group's threads (seen with gloo). A model that outlives the group
    holds it last, by its gradient reducer, and then ends those threads while it has the interpreter lock, which one of
    them may be waiting for: a process in a few hung so (torch 2.13).
    """
    accelerator.free_memory()
    accelerator.end_training()
