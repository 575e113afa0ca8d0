"""The machine that trains: its name, its support of bf16, peak memory, and the start and end of Accelerate."""

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
    """Return the name of the GPU, or the CPU with its thread count and instruction set."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{processor_name()}, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"


def peak_memory_bytes(device: torch.device) -> int:
    """Return this process's peak memory: allocated on the GPU, or resident set size on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def multiplies_bf16_natively(device: torch.device) -> bool:
    """Whether the device has bf16 matrix instructions; a CPU without them is many times slower in bf16."""
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
    # Without cpu=True, Accelerate does not join CPU processes under torchrun: each would train on its own.
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
    """Return the type of the matrix products in training: `bf16` (the weights stay float32) or `fp32`."""
    return "bf16" if accelerator.mixed_precision == "bf16" else "fp32"


def leave_group(accelerator: Accelerator) -> None:
    """Leave the process group. The caller must have dropped its references to the model before.

    The group's threads abort a process that exits as a member (seen with gloo). The model's gradient reducer holds a
    reference to the group. If the model outlives the group, freeing the model joins the group's threads while holding
    the interpreter lock, for which one of them may be waiting: now and then a process hung this way (torch 2.13).
    """
    accelerator.free_memory()
    accelerator.end_training()
