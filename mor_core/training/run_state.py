"""What a run leaves on disk while it goes: its state, from which it resumes exactly, and its log.

Both survive a kill at any moment and a full disk: a file is complete or it is the one before.
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
from mor_core.training.training_schedule import make_plan

STATE_FILE = "state.pt"
LOG_FILE = "train_log.jsonl"
_DECIDE_THE_END = ("budget.tokens", "budget.flops", "schedule.decay_fraction")


class TrainingError(ValueError):
    """A run that cannot start, go on or be saved, and what to do about it."""


@dataclass
class RunTotals:
    """The sums of a run, over all its resumes.

    Attributes:
        step: optimiser steps done.
        num_tokens: read in training.
        training_flops: summed over the steps from the actual active counts.
        elapsed_s: wall-clock seconds of steps and validations.
        capacity_level: levels of an earned fall of the capacities, see `CapacityPlan`.
        peak_memory_bytes: largest seen.
        code_revisions: of the code, one for each start.
        hardware: that computed, one for each start.
        precision: of the products, `bf16` or `fp32`, one for each start.
        branched_from: the run whose state this one began with, and how far that was; `None` if from new weights.
    """

    step: int = 0
    num_tokens: int = 0
    training_flops: int = 0
    elapsed_s: float = 0.0
    capacity_level: int = 0
    peak_memory_bytes: int = 0
    code_revisions: list[str] = field(default_factory=list)
    hardware: list[str] = field(default_factory=list)
    precision: list[str] = field(default_factory=list)
    branched_from: dict[str, Any] | None = None


@dataclass
class RunState:
    """Everything that the next step depends on.

    Attributes:
        totals: sums so far.
        facts: the recipe and the hashes of data and tokenizer, to tell whether a resume would mix two runs.
        model: weights in float32.
        optimiser: its moments.
        rng: state of torch's generator.
    """

    totals: RunTotals
    facts: dict[str, Any]
    model: dict[str, Any]
    optimiser: dict[str, Any]
    rng: torch.Tensor


def save_state(folder: Path, state: RunState) -> None:
    """Replace the saved state as a whole.

    Raises:
        TrainingError: it could not be written; the state before is untouched.
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
        kept = "the state saved before is kept" if path.is_file() else "no state was saved before"
        raise TrainingError(
            f"the state of step {state.totals.step} could not be saved to {path} ({error}); {kept}; "
            "make room on the disk, then resume with --resume"
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
    # A damaged file fails in the ways of zip files, of the pickle that is not run, and of missing keys.
    except (OSError, RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
        raise TrainingError(
            f"{path} cannot be read ({error}); delete it to begin the run anew"
        ) from error


def begin_or_resume(
    folder: Path, facts: dict[str, Any], *, resume: bool, branch_from: Path | None
) -> RunState | None:
    """Return the state that a run goes on from: its own, else a copy of another run's, else `None` for new weights.

    Args:
        folder: of the run.
        facts: of the run as it is asked for now.
        resume: whether its own state may be taken up.
        branch_from: the folder of another run's state and log.

    Raises:
        TrainingError: there is a state and nobody asked to resume, or a state is damaged or of another run.
    """
    own = load_state(folder)
    if own is None:
        return None if branch_from is None else _branch(folder, facts, branch_from)
    if not resume:
        raise TrainingError(
            f"{folder} holds a run at step {own.totals.step} of {make_plan(parse_recipe(facts['recipe'])).num_steps}; "
            "go on with --resume, or delete the folder to begin anew"
        )
    check_same_run(own.facts, facts, own.totals.step)
    return own


def _branch(folder: Path, facts: dict[str, Any], source: Path) -> RunState:
    """Copy another run's log and return its state as this run's beginning."""
    state = load_state(source)
    if state is None:
        raise TrainingError(
            f"{source / STATE_FILE} was not found; give the folder of a run, or of a state that "
            "[run] keep_state_tokens kept"
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
    """Keep a state and the log up to it in a folder of their own, from which another run can branch off.

    Raises:
        TrainingError: it could not be written.
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
    """Refuse to mix two runs: the saved facts must be those of now, but for how often it saves and validates.

    Up to the decay of the learning rate, a run does not depend on when it is to end, so a run that has taken `step`
    steps may still be given another budget if neither decay had begun by then. A run that branches off has another
    name.

    Raises:
        TrainingError: something else differs.
    """
    before, after = parse_recipe(saved["recipe"]), parse_recipe(now["recipe"])
    changed = before.changed_fields(after)
    if step <= min(make_plan(recipe).first_decay_step for recipe in (before, after)):
        changed = [name for name in changed if name not in _DECIDE_THE_END]
    changed += [name for name in now if name != "recipe" and now[name] != saved[name]]
    remedy = "resume with what it began with, or give the new run another [run] name"
    if branches:
        changed = [name for name in changed if name != "run.name"]
        remedy = "a run that branches off may have another name and, if no decay has begun, another budget"
    if changed:
        raise TrainingError(f"the saved run differs in {', '.join(changed)}; {remedy}")


class TrainingLog:
    """Appends one JSON object a step."""

    def __init__(self, folder: Path, last_step: int) -> None:
        """Open the log and drop what was logged after `last_step`: those steps will be taken again."""
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
        """Write a line at once.

        Raises:
            TrainingError: it could not be written.
        """
        try:
            self._file.write(f"{json.dumps(line)}\n")
            self._file.flush()
        except OSError as error:
            raise TrainingError(
                f"the log {self.path} cannot be written ({error}); make room on the disk, then resume with --resume"
            ) from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a log; a last line that a kill cut short is left out."""
    if not path.is_file():
        return []
    lines: list[dict[str, Any]] = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break
    return lines
