"""The files of a run in progress: its state, from which it resumes exactly, and its log.

Both survive a kill at any moment and a full disk: a file is either complete or still the previous version.
"""

import json
import os
import pickle
import shutil
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import IO, Any

import torch

from mor_core.training.recipe import parse_recipe
from mor_core.training.training_schedule import make_schedule

STATE_FILE = "state.pt"
LOG_FILE = "train_log.jsonl"
_END_FIELDS = ("budget.tokens", "budget.flops", "schedule.decay_fraction")


class TrainingError(ValueError):
    """The run cannot start, continue or be saved; the message says what to do about it."""


@dataclass
class RunTotals:
    """The totals of a run, over all its resumes.

    Attributes:
        step: optimiser steps done.
        num_tokens: training tokens processed, padding not counted.
        training_flops: summed over the steps, from the actual number of active tokens.
        elapsed_s: wall-clock seconds of steps and validations.
        stage: stage reached of accuracy-gated capacities, see `CapacitySchedule`.
        peak_memory_bytes: largest value so far.
        code_revisions: git revision at each start.
        hardware: processor at each start.
        precision: `bf16` or `fp32`, at each start.
        branched_from: name, step and tokens of the run whose state this run started from; `None` for new weights.
    """

    step: int = 0
    num_tokens: int = 0
    training_flops: int = 0
    elapsed_s: float = 0.0
    stage: int = 0
    peak_memory_bytes: int = 0
    code_revisions: list[str] = field(default_factory=list)
    hardware: list[str] = field(default_factory=list)
    precision: list[str] = field(default_factory=list)
    branched_from: dict[str, Any] | None = None


@dataclass
class RunState:
    """Everything that the next step depends on.

    Attributes:
        totals: totals so far.
        facts: the recipe and the hashes of data and tokenizer; a resume checks that they have not changed.
        model: state dict of the model, in float32.
        optimiser: state dict of the optimiser.
        rng: state of torch's random generator.
    """

    totals: RunTotals
    facts: dict[str, Any]
    model: dict[str, Any]
    optimiser: dict[str, Any]
    rng: torch.Tensor


def save_state(folder: Path, state: RunState) -> None:
    """Replace the saved state atomically.

    Raises:
        TrainingError: the state could not be written; the previous state is intact.
    """
    path = folder / STATE_FILE
    partial = path.with_suffix(".partial")
    plain = vars(state) | vars(state.totals)
    del plain["totals"]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            torch.save(plain, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    # torch reports some failed writes as a RuntimeError of its zip writer.
    except (OSError, RuntimeError) as error:
        partial.unlink(missing_ok=True)
        kept = "the previous state is kept" if path.is_file() else "there is no previous state"
        raise TrainingError(
            f"the state of step {state.totals.step} could not be saved to {path} ({error}); {kept}; "
            "free disk space, then resume with --resume"
        ) from error


def load_state(folder: Path) -> RunState | None:
    """Return the saved state, `None` if there is none.

    Raises:
        TrainingError: the file is damaged.
    """
    path = folder / STATE_FILE
    if not path.is_file():
        return None
    try:
        plain = torch.load(path, map_location="cpu", weights_only=True)
        sums = {entry.name: plain[entry.name] for entry in fields(RunTotals) if entry.name in plain}
        parts = {name: plain[name] for name in ("facts", "model", "optimiser", "rng")}
        return RunState(totals=RunTotals(**sums), **parts)
    # A damaged file may fail as a zip archive, as a pickle, or by missing keys.
    except (OSError, RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
        raise TrainingError(
            f"{path} cannot be read ({error}); delete it to start the run again"
        ) from error


def begin_or_resume(
    folder: Path, facts: dict[str, Any], *, resume: bool, branch_from: Path | None
) -> RunState | None:
    """Return the state to start from: the run's own, else a copy of another run's, else `None` for new weights.

    Args:
        folder: the run's folder.
        facts: the run's facts, see `RunState`.
        resume: whether to continue from the run's own state.
        branch_from: the folder of another run's state and log.

    Raises:
        TrainingError: the run has a state but `resume` is false, or a state is damaged or belongs to another run.
    """
    own = load_state(folder)
    if own is None:
        return None if branch_from is None else _branch(folder, facts, branch_from)
    if not resume:
        num_steps = make_schedule(parse_recipe(facts["recipe"])).num_steps
        raise TrainingError(
            f"{folder} holds a run at step {own.totals.step} of {num_steps}; "
            "continue with --resume, or delete the folder to start again"
        )
    check_same_run(own.facts, facts, own.totals.step)
    return own


def _branch(folder: Path, facts: dict[str, Any], source: Path) -> RunState:
    """Copy another run's log and return its state, from which this run starts."""
    state = load_state(source)
    if state is None:
        raise TrainingError(
            f"{source / STATE_FILE} was not found; give the folder of a run, or the folder that "
            "[run] keep_state_tokens wrote"
        )
    check_same_run(state.facts, facts, state.totals.step, branches=True)
    totals = state.totals
    if len(read_log(source / LOG_FILE)) < totals.step:
        raise TrainingError(
            f"{source / LOG_FILE} must hold the {totals.step} steps of the state beside it; copy the log with the state"
        )
    _copy_log(source, folder)
    name = state.facts["recipe"]["run"]["name"]
    totals.branched_from = {"name": name, "step": totals.step, "num_tokens": totals.num_tokens}
    return state


def keep_state(folder: Path, state: RunState) -> Path:
    """Copy a state and its log to a folder `at-<tokens>`, from which another run can branch off.

    Raises:
        TrainingError: the state could not be written.
    """
    kept = folder / f"at-{state.totals.num_tokens}"
    _copy_log(folder, kept)
    save_state(kept, state)
    return kept


def _copy_log(source: Path, destination: Path) -> None:
    destination.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source / LOG_FILE, destination / LOG_FILE)


def check_same_run(
    saved: dict[str, Any], now: dict[str, Any], step: int, *, branches: bool = False
) -> None:
    """Check that the saved facts equal the current ones, except for how often the run saves and validates.

    Until the learning rate decays, a run does not depend on its budget. So the budget may change as long as neither
    the old nor the new decay has started by `step`. A run that branches off may also have another name.

    Raises:
        TrainingError: anything else differs.
    """
    before, after = parse_recipe(saved["recipe"]), parse_recipe(now["recipe"])
    changed = before.changed_fields(after)
    if step <= min(make_schedule(recipe).first_decay_step for recipe in (before, after)):
        changed = [name for name in changed if name not in _END_FIELDS]
    changed += [name for name in now if name != "recipe" and now[name] != saved[name]]
    remedy = "resume with the original values, or give the new run another [run] name"
    if branches:
        changed = [name for name in changed if name != "run.name"]
        remedy = "a run that branches off may have another name and, before the decay starts, another budget"
    if changed:
        raise TrainingError(f"the saved run differs in {', '.join(changed)}; {remedy}")


class TrainingLog:
    """Appends one line of JSON per step."""

    def __init__(self, folder: Path, last_step: int) -> None:
        """Open the log and drop the lines after `last_step`: those steps will be repeated."""
        self.path = folder / LOG_FILE
        kept = [line for line in read_log(self.path) if line["step"] <= last_step]
        partial = self.path.with_suffix(".partial")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            partial.write_text("".join(f"{json.dumps(line)}\n" for line in kept), encoding="utf-8")
            partial.replace(self.path)
            self._file: IO[str] = self.path.open("a", encoding="utf-8")
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise TrainingError(f"the log {self.path} cannot be written ({error})") from error

    def append(self, line: dict[str, Any]) -> None:
        """Write a line and flush it.

        Raises:
            TrainingError: the line could not be written.
        """
        try:
            self._file.write(f"{json.dumps(line)}\n")
            self._file.flush()
        except OSError as error:
            raise TrainingError(
                f"the log {self.path} cannot be written ({error}); free disk space, then resume with --resume"
            ) from error

    def close(self) -> None:
        """Close the log file."""
        self._file.close()


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a log, without an incomplete last line that a kill left."""
    if not path.is_file():
        return []
    lines: list[dict[str, Any]] = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break
    return lines
