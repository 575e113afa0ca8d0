"""Trains a model by a recipe: the loop, its interruptions, and what is left at the end.

Built on Hugging Face Accelerate: the same call runs on one CPU, one GPU, or several under `accelerate launch`.
Data order depends on seed and step alone, so a resumed run is the uninterrupted one, bit for bit on the same machine.
"""

import contextlib
import json
import logging
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm
from transformers import set_seed

from mor_core.checkpoints.checkpoint import save_checkpoint
from mor_core.model.decoder import DecoderLayer
from mor_core.model.model import MoRForCausalLM
from mor_core.training.data import tokenizer_sha256
from mor_core.training.data_loader import (
    StepBlocks,
    held_out_batches,
    model_inputs,
    prepare_data,
)
from mor_core.training.hardware import (
    hardware,
    leave_group,
    peak_memory_bytes,
    precision,
    start_accelerator,
)
from mor_core.training.optim import aux_router_weights, make_optimiser, set_rate
from mor_core.training.provenance import code_revision, run_provenance
from mor_core.training.recipe import Recipe, load_recipe, recipe_text
from mor_core.training.run_state import (
    LOG_FILE,
    RunState,
    RunTotals,
    TrainingError,
    TrainingLog,
    begin_or_resume,
    keep_state,
    save_state,
)
from mor_core.training.signals import stop_signals
from mor_core.training.step_metrics import StepMeter
from mor_core.training.training_schedule import make_plan
from mor_core.training.validation import Validation

RUNS_FOLDER = Path("runs")
_log = logging.getLogger(__name__)


class TrainingInterrupted(KeyboardInterrupt):
    """The user stopped the run; its state is saved and the message says how to go on."""


def train(
    recipe_path: Path,
    *,
    resume: bool = False,
    branch_from: Path | None = None,
    output: Path | None = None,
    data_dir: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    runs_folder: Path = RUNS_FOLDER,
    stop_after_steps: int | None = None,
) -> Path | None:
    """Train to the end of the budget and write a checkpoint.

    Args:
        recipe_path: a TOML file, see `mor_core.training.recipe`.
        resume: go on from the saved state; begin anew if there is none yet.
        branch_from: folder of another run's state, to begin with a copy of it.
        output: the checkpoint's folder; default `checkpoints/` and the run's name.
        data_dir: where the text files are; default the variable `MOR_DATA`.
        overrides: fields of the recipe to replace, such as {"budget.tokens": 10_000}.
        runs_folder: where the state and log of runs are kept, and the tokens of corpora.
        stop_after_steps: save and return once this many steps are done in all.

    Returns:
        The checkpoint's folder; `None` if stopped before the end.

    Raises:
        ValueError: recipe, corpus or saved state do not fit; the message says what to do.
        TrainingInterrupted: Ctrl-C or SIGTERM; the state is saved.
    """
    recipe = load_recipe(recipe_path, overrides)
    with contextlib.closing(_Run(recipe, runs_folder, data_dir)) as run:
        run.start(resume=resume, branch_from=branch_from)
        if not run.go(stop_after_steps):
            return None
        folder = output or Path("checkpoints") / recipe.run.name
        named = recipe_path.name if recipe_path.is_absolute() else recipe_path.as_posix()
        run.finish(folder, f"mor train {named}", dict(overrides or {}))
        return folder


class _Run:
    """One run, as one process sees it."""

    def __init__(self, recipe: Recipe, runs_folder: Path, data_dir: Path | None) -> None:
        self.recipe = recipe
        self.folder = runs_folder / recipe.run.name
        self.config = recipe.config()
        self.plan = make_plan(recipe)
        self.accelerator = start_accelerator(recipe)
        self.device: torch.device = self.accelerator.device
        with self.accelerator.main_process_first():  # it fills the cache, the others read it
            data = prepare_data(recipe, runs_folder / "cache", data_dir)
        self.tokenizer = data.tokenizer
        self.facts: dict[str, Any] = {
            "recipe": recipe.as_dict(),
            "train_sha256": data.train.sha256,
            "valid_sha256": None if data.valid is None else data.valid.sha256,
            "tokenizer_sha256": tokenizer_sha256(self.tokenizer),
        }
        self.blocks = StepBlocks(
            recipe,
            self.plan,
            data.train,
            num_processes=self.accelerator.num_processes,
            process_index=self.accelerator.process_index,
        )
        self.validation: Validation | None = None
        if data.valid is not None:
            held_out = held_out_batches(recipe, data.valid)
            mark = recipe.data.question_mark
            self.validation = Validation(held_out, self.accelerator, self.tokenizer, mark)

    def start(self, *, resume: bool, branch_from: Path | None) -> None:
        """Build model and optimiser, or take up the saved state; see `runfiles.begin_or_resume`."""
        set_seed(self.recipe.run.seed)
        model = MoRForCausalLM(self.config).train()
        saved = begin_or_resume(self.folder, self.facts, resume=resume, branch_from=branch_from)
        self.totals = RunTotals() if saved is None else saved.totals
        if saved is not None:
            model.load_state_dict(saved.model)
        if self.recipe.run.compile:
            for module in model.modules():
                if isinstance(module, DecoderLayer):
                    module.compile(dynamic=False)
        optimiser = make_optimiser(model, self.recipe.optimiser, self.device)
        self.model, self.optimiser = self.accelerator.prepare(model, optimiser)
        if saved is not None:
            self.optimiser.load_state_dict(saved.optimiser)
            torch.set_rng_state(saved.rng)
            _log.info("going on at step %d of %d", self.totals.step, self.plan.num_steps)
        # Noted now: by the end the files on disk may have moved on from the code that runs.
        self.totals.code_revisions.append(code_revision())
        self.totals.hardware.append(hardware(self.device))
        self.totals.precision.append(precision(self.accelerator))

    def go(self, stop_after_steps: int | None) -> bool:
        """Take the steps that are left; return whether the budget is spent."""
        is_main = self.accelerator.is_main_process
        log = TrainingLog(self.folder, self.totals.step) if is_main else None
        last = min(stop_after_steps or self.plan.num_steps, self.plan.num_steps)
        saved_at = time.monotonic()
        with contextlib.ExitStack() as stack:
            bar = stack.enter_context(self._progress_bar())
            stopped = stack.enter_context(stop_signals())
            if log:
                stack.enter_context(contextlib.closing(log))
            while self.totals.step < last:
                line = self._take_step()
                if log:
                    log.append(line)
                bar.update(line["tokens"] - bar.n)
                bar.set_postfix(loss=f"{line['loss']['lm']:.3f}", refresh=False)
                interrupted = self._anyone(stopped.is_set())
                due = time.monotonic() - saved_at >= self.recipe.run.save_every_s
                if is_main and self.totals.step == self.plan.kept_step:
                    _log.info("kept %s", keep_state(self.folder, self._state()))
                if is_main and (due or interrupted or self.totals.step == last):
                    save_state(self.folder, self._state())
                    saved_at = time.monotonic()
                if interrupted:
                    raise TrainingInterrupted(
                        f"stopped after step {self.totals.step} of {self.plan.num_steps}; "
                        f"the state is saved in {self.folder}, go on with --resume"
                    )
        return self.totals.step == self.plan.num_steps

    def _progress_bar(self) -> Any:
        return tqdm(
            desc=self.recipe.run.name,
            total=self.plan.num_steps * self.recipe.run.batch_tokens,
            initial=self.totals.num_tokens,
            unit="tok",
            unit_scale=True,
            disable=not self.accelerator.is_main_process,
        )

    def _anyone(self, flag: bool) -> bool:
        """Whether any process says so: all must leave the loop at the same step."""
        if self.accelerator.num_processes == 1:
            return flag
        flags = torch.tensor(float(flag), device=self.device)
        return bool(self.accelerator.reduce(flags, "sum").item())

    def _take_step(self) -> dict[str, Any]:
        """Take one optimiser step and return its log line."""
        started = time.perf_counter()
        rate = self.plan.learning_rate(self.totals.step)
        set_rate(self.optimiser, rate)
        routing = self.plan.capacities.rule(self.totals.step, self.totals.capacity_level)
        meter = StepMeter(self.config, self.accelerator.gradient_accumulation_steps, self.device)
        norm = math.nan
        for batch in self.blocks.micro_batches(self.totals.step):
            with self.accelerator.accumulate(self.model):
                output = self.model(**model_inputs(batch, self.device), routing=routing)
                meter.add(output, batch)
                self.accelerator.backward(output.loss)  # divides the whole loss by the accumulation
                if self.accelerator.sync_gradients:
                    norm = self._clip_gradients()
                self.optimiser.step()
                self.optimiser.zero_grad(set_to_none=True)
        summary = meter.summary(self.accelerator)
        if not math.isfinite(summary["loss"]["total"]):
            raise TrainingError(
                f"the loss of step {self.totals.step + 1} is {summary['loss']['total']}; a resumed run "
                "will meet it again: lower [optimiser] learning_rate and begin anew"
            )
        self._balance_loads(summary["depth_shares"])
        seconds = time.perf_counter() - started
        totals = self.totals
        totals.step += 1
        totals.num_tokens += summary["step_tokens"]
        totals.training_flops += summary["step_flops"]
        totals.peak_memory_bytes = max(totals.peak_memory_bytes, peak_memory_bytes(self.device))
        line = {
            "step": totals.step,
            "tokens": totals.num_tokens,
            "learning_rate": rate,
            "grad_norm": norm,
            "training_flops": totals.training_flops,
            **{name: value for name, value in summary.items() if name != "step_tokens"},
            "tokens_per_s": summary["step_tokens"] / seconds,
            "peak_memory_bytes": totals.peak_memory_bytes,
        }
        line |= self._watch()
        totals.elapsed_s += time.perf_counter() - started
        return {**line, "elapsed_s": totals.elapsed_s}

    def _watch(self) -> dict[str, Any]:
        """Look at the held-out rows if it is time, and let capacities fall by a level if that is earned."""
        if self.validation is None:
            return {}
        totals, plan = self.totals, self.plan
        found: dict[str, Any] = {}
        model = self.accelerator.unwrap_model(self.model)
        every = self.recipe.run.validate_every_steps
        if totals.step == plan.num_steps or (every and totals.step % every == 0):
            found["validation"] = self.validation.measure(model)
        if plan.capacities.is_due(totals.step, totals.capacity_level):
            rule = plan.capacities.trial_rule(totals.capacity_level)
            accuracy = self.validation.answer_accuracy(model, rule)
            totals.capacity_level += accuracy >= plan.capacities.accuracy
            found["capacity_trial"] = {"accuracy": accuracy, "level": totals.capacity_level}
        return found

    def _clip_gradients(self) -> float:
        """Bound the gradient of the model, and apart from it that of auxiliary routers; return the model's norm."""
        limit = self.recipe.optimiser.gradient_clip
        auxiliary = aux_router_weights(self.model)
        apart = set(map(id, auxiliary))
        weights = [weight for weight in self.model.parameters() if id(weight) not in apart]
        if auxiliary:
            self.accelerator.clip_grad_norm_(auxiliary, limit)
        return float(self.accelerator.clip_grad_norm_(weights, limit))

    def _balance_loads(self, depth_shares: list[float]) -> None:
        """Loss-free balancing: after the step, move a token-choice router's bias towards the depths that got little."""
        if self.config.router_balancing == "loss_free":
            router = self.accelerator.unwrap_model(self.model).model.routers[0]
            router.move_bias(torch.tensor(depth_shares), self.config.router_bias_update_rate)

    def _state(self) -> RunState:
        """Return the state of now; all processes have the same."""
        return RunState(
            totals=self.totals,
            facts=self.facts,
            model=self.accelerator.unwrap_model(self.model).state_dict(),
            optimiser=self.optimiser.state_dict(),
            rng=torch.get_rng_state(),
        )

    def finish(self, folder: Path, command: str, overrides: dict[str, Any]) -> None:
        """Write the checkpoint: weights, tokenizer, recipe, log and provenance."""
        if self.accelerator.is_main_process:
            papers = (self.recipe, self.facts, self.totals, self.accelerator)
            provenance = run_provenance(*papers, command, overrides)
            save_checkpoint(
                folder,
                self.accelerator.unwrap_model(self.model).eval(),
                self.tokenizer,
                files={
                    "recipe.toml": recipe_text(self.recipe),
                    LOG_FILE: (self.folder / LOG_FILE).read_bytes(),
                    "provenance.json": f"{json.dumps(provenance, indent=2)}\n",
                },
            )
        self.accelerator.wait_for_everyone()

    def close(self) -> None:
        """Let the model go, then the group of processes, in this order."""
        vars(self).pop("model", None)  # not there if `start` failed
        leave_group(self.accelerator)
