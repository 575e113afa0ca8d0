"""Trains a model from a recipe: the loop, interruption and resume, and the final checkpoint.

Built on Hugging Face Accelerate: the same call runs on one CPU, one GPU, or several GPUs under `accelerate launch`.
The data order depends on seed and step alone, so a resumed run equals the uninterrupted run bit for bit on the same
machine.
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
from mor_core.training.step_metrics import StepMetrics
from mor_core.training.training_schedule import make_schedule
from mor_core.training.validation import Validation

RUNS_FOLDER = Path("runs")
_log = logging.getLogger(__name__)


class TrainingInterrupted(KeyboardInterrupt):
    """The user stopped the run; its state is saved, and the message says how to continue."""


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
    """Train until the budget is spent and write a checkpoint.

    Args:
        recipe_path: a TOML file, see `mor_core.training.recipe`.
        resume: continue from the saved state; start from new weights if there is none.
        branch_from: folder of another run's state, to start from a copy of it.
        output: the checkpoint's folder; default `checkpoints/` and the run's name.
        data_dir: folder of the text files; default the environment variable `MOR_DATA`.
        overrides: fields of the recipe to replace, such as {"budget.tokens": 10_000}.
        runs_folder: folder of the states and logs of runs, and of the tokenised corpora.
        stop_after_steps: save and return once the run has this many steps in total.

    Returns:
        The checkpoint's folder; `None` if stopped before the end.

    Raises:
        ValueError: recipe, corpus or saved state are missing, invalid or contradict each other.
        TrainingInterrupted: Ctrl-C or SIGTERM stopped the run; the state is saved.
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
    """One process of a run."""

    def __init__(self, recipe: Recipe, runs_folder: Path, data_dir: Path | None) -> None:
        self.recipe = recipe
        self.folder = runs_folder / recipe.run.name
        self.config = recipe.config()
        self.schedule = make_schedule(recipe)
        self.accelerator = start_accelerator(recipe)
        self.device: torch.device = self.accelerator.device
        with self.accelerator.main_process_first():  # the main process fills the cache
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
            self.schedule,
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
        """Build model and optimiser and load the saved state, if any; see `run_state.begin_or_resume`."""
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
            _log.info("continuing at step %d of %d", self.totals.step, self.schedule.num_steps)
        # Recorded now, since the files on disk may change while the run goes on.
        self.totals.code_revisions.append(code_revision())
        self.totals.hardware.append(hardware(self.device))
        self.totals.precision.append(precision(self.accelerator))

    def go(self, stop_after_steps: int | None) -> bool:
        """Take the remaining steps; return whether the budget is spent."""
        is_main = self.accelerator.is_main_process
        log = TrainingLog(self.folder, self.totals.step) if is_main else None
        last = min(stop_after_steps or self.schedule.num_steps, self.schedule.num_steps)
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
                interrupted = self._any_process(stopped.is_set())
                due = time.monotonic() - saved_at >= self.recipe.run.save_every_s
                if is_main and self.totals.step == self.schedule.kept_step:
                    _log.info("kept %s", keep_state(self.folder, self._state()))
                if is_main and (due or interrupted or self.totals.step == last):
                    save_state(self.folder, self._state())
                    saved_at = time.monotonic()
                if interrupted:
                    raise TrainingInterrupted(
                        f"stopped after step {self.totals.step} of {self.schedule.num_steps}; "
                        f"the state is saved in {self.folder}; continue with --resume"
                    )
        return self.totals.step == self.schedule.num_steps

    def _progress_bar(self) -> Any:
        return tqdm(
            desc=self.recipe.run.name,
            total=self.schedule.num_steps * self.recipe.run.batch_tokens,
            initial=self.totals.num_tokens,
            unit="tok",
            unit_scale=True,
            disable=not self.accelerator.is_main_process,
        )

    def _any_process(self, flag: bool) -> bool:
        """Whether `flag` is set in any process: all processes must leave the loop at the same step."""
        if self.accelerator.num_processes == 1:
            return flag
        flags = torch.tensor(float(flag), device=self.device)
        return bool(self.accelerator.reduce(flags, "sum").item())

    def _take_step(self) -> dict[str, Any]:
        """Take one optimiser step and return its log line."""
        started = time.perf_counter()
        rate = self.schedule.learning_rate(self.totals.step)
        set_rate(self.optimiser, rate)
        step = self.totals.step
        decays = step >= self.schedule.first_decay_step
        routing = self.schedule.capacities.routing(step, self.totals.stage, decays=decays)
        metrics = StepMetrics(
            self.config, self.accelerator.gradient_accumulation_steps, self.device
        )
        norm = math.nan
        for batch in self.blocks.micro_batches(self.totals.step):
            with self.accelerator.accumulate(self.model):
                output = self.model(
                    **model_inputs(batch, self.device),
                    routing=routing.rule,
                    loss_weights=routing.loss_weights,
                )
                metrics.add(output, batch)
                self.accelerator.backward(output.loss)  # divides the whole loss by the accumulation
                if self.accelerator.sync_gradients:
                    norm = self._clip_gradients()
                self.optimiser.step()
                self.optimiser.zero_grad(set_to_none=True)
        summary = metrics.summary(self.accelerator)
        if not math.isfinite(summary["loss"]["total"]):
            raise TrainingError(
                f"the loss of step {self.totals.step + 1} is {summary['loss']['total']}; a resumed run "
                "will reach it again: lower [optimiser] learning_rate and start again"
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
        line |= self._validate()
        totals.elapsed_s += time.perf_counter() - started
        return {**line, "elapsed_s": totals.elapsed_s}

    def _validate(self) -> dict[str, Any]:
        """Measure the held-out rows when due, and enter the next stage if its accuracy is reached.

        Returns:
            Fields of the log line, empty if nothing is due.
        """
        if self.validation is None:
            return {}
        totals, schedule = self.totals, self.schedule
        found: dict[str, Any] = {}
        model = self.accelerator.unwrap_model(self.model)
        every = self.recipe.run.validate_every_steps
        if totals.step == schedule.num_steps or (every and totals.step % every == 0):
            found["validation"] = self.validation.measure(model)
        if schedule.capacities.is_due(totals.step, totals.stage):
            rule, needed = schedule.capacities.gate(totals.stage)
            accuracy = self.validation.answer_accuracy(model, rule)
            totals.stage += accuracy >= needed
            found["stage_check"] = {"accuracy": accuracy, "stage": totals.stage}
        return found

    def _clip_gradients(self) -> float:
        """Clip the gradients of the model and, separately, of auxiliary routers; return the model's gradient norm."""
        limit = self.recipe.optimiser.gradient_clip
        auxiliary = aux_router_weights(self.model)
        excluded = set(map(id, auxiliary))
        weights = [weight for weight in self.model.parameters() if id(weight) not in excluded]
        if auxiliary:
            self.accelerator.clip_grad_norm_(auxiliary, limit)
        return float(self.accelerator.clip_grad_norm_(weights, limit))

    def _balance_loads(self, depth_shares: list[float]) -> None:
        """Apply loss-free balancing: move a token-choice router's bias towards the depths with few tokens."""
        if self.config.router_balancing == "loss_free":
            router = self.accelerator.unwrap_model(self.model).model.routers[0]
            router.move_bias(torch.tensor(depth_shares), self.config.router_bias_update_rate)

    def _state(self) -> RunState:
        """Return the current state, which is the same in all processes."""
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
            provenance = run_provenance(
                self.recipe, self.facts, self.totals, self.accelerator, command, overrides
            )
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
        """Drop the model, then leave the process group, in this order."""
        vars(self).pop("model", None)  # missing if `start` failed
        leave_group(self.accelerator)
