"""Trains a model by a recipe: the loop, its interruptions, and what is left at the end.

Built on Hugging Face Accelerate: the same call runs on one CPU, one GPU, or several under `accelerate launch`.
Data order depends on seed and step alone, so a resumed run is the uninterrupted one, bit for bit on the same machine.
"""

import contextlib
import json
import logging
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, PartialState
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedTokenizerFast, set_seed

from mor_core.corpus import fetch_hugging_face, find_corpus
from mor_core.data import (
    BlockOrder,
    TokenisedCorpus,
    cached_tokenizer,
    simplest_documents,
    tokenise_corpus,
    tokenizer_sha256,
)
from mor_core.layers import DecoderLayer
from mor_core.model import MoRForCausalLM
from mor_core.optim import Plan, make_optimiser, make_plan
from mor_core.provenance import (
    code_revision,
    hardware,
    multiplies_bf16_natively,
    package_versions,
    peak_memory_bytes,
)
from mor_core.recipe import Recipe, load_recipe, parse_recipe, recipe_text
from mor_core.routing import RoutingRule
from mor_core.runfiles import (
    RunState,
    TrainingError,
    TrainingLog,
    load_state,
    save_state,
)
from mor_core.stepmeter import StepMeter

_log = logging.getLogger(__name__)
RUNS_FOLDER = Path("runs")


class TrainingInterrupted(KeyboardInterrupt):
    """The user stopped the run; its state is saved and the message says how to go on."""


def train(
    recipe_path: Path,
    *,
    resume: bool = False,
    output: Path | None = None,
    data_dir: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    runs_folder: Path = RUNS_FOLDER,
    stop_after_steps: int | None = None,
) -> Path | None:
    """Train to the end of the budget and write a checkpoint.

    Args:
        recipe_path: a TOML file, see `mor_core.recipe`.
        resume: go on from the saved state; begin anew if there is none yet.
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
    run = _Run(recipe, runs_folder, data_dir)
    run.start(resume=resume)
    if not run.go(stop_after_steps):
        return None
    folder = output or Path("checkpoints") / recipe.run.name
    run.finish(folder, recipe_path)
    return folder


class _Run:
    """One run of one process."""

    def __init__(self, recipe: Recipe, runs_folder: Path, data_dir: Path | None) -> None:
        self.recipe = recipe
        self.folder = runs_folder / recipe.run.name
        self.config = recipe.config()
        self.plan: Plan = make_plan(recipe)
        self.accelerator = _accelerator(recipe)
        self.device: torch.device = self.accelerator.device
        self.tokenizer, train_corpus, self.validation = self._read_data(runs_folder / "cache", data_dir)
        self.facts: dict[str, Any] = {
            "recipe": recipe.as_dict(),
            "train_sha256": train_corpus.sha256,
            "valid_sha256": None if self.validation is None else self.validation.corpus.sha256,
            "tokenizer_sha256": tokenizer_sha256(self.tokenizer),
        }
        self.blocks = _StepBlocks(recipe, self.plan, train_corpus, self.accelerator)

    def _read_data(
        self, cache: Path, data_dir: Path | None
    ) -> tuple[PreTrainedTokenizerFast, TokenisedCorpus, BlockOrder | None]:
        data, length = self.recipe.data, self.config.max_position_embeddings
        # The first process fills the cache, the others read it.
        with self.accelerator.main_process_first():
            if data.hugging_face:
                limit = data.max_documents or None
                name, column = data.hugging_face, data.text_column
                train_path = fetch_hugging_face(name, data.train_split, column, limit, cache)
                valid_path = None
                if data.valid_split:
                    valid_path = fetch_hugging_face(name, data.valid_split, column, limit, cache)
            else:
                train_path = find_corpus(data.train, data_dir)
                valid_path = find_corpus(data.valid, data_dir) if data.valid else None
            tokenizer = cached_tokenizer(train_path, self.config.vocab_size, length, cache)
            corpus = tokenise_corpus(train_path, tokenizer, cache)
            validation = None
            if valid_path is not None:
                held_out = tokenise_corpus(valid_path, tokenizer, cache)
                validation = BlockOrder(held_out, length, seed=0)
        return tokenizer, corpus, validation

    def start(self, *, resume: bool) -> None:
        """Build model and optimiser, or take up the saved state.

        Raises:
            TrainingError: there is a state and nobody asked to resume, or it belongs to another run.
        """
        set_seed(self.recipe.run.seed)
        model = MoRForCausalLM(self.config).train()
        optimiser = make_optimiser(model, self.recipe.optimiser, self.device)
        saved = load_state(self.folder)
        if saved is not None and not resume:
            raise TrainingError(
                f"{self.folder} holds a run at step {saved.step} of {self.plan.num_steps}; "
                "go on with --resume, or delete the folder to begin anew"
            )
        if saved is not None:
            _check_same_run(saved.facts, self.facts)
            model.load_state_dict(saved.model)
        if self.recipe.run.compile:
            for module in model.modules():
                if isinstance(module, DecoderLayer):
                    module.compile(dynamic=False)
        self.model, self.optimiser = self.accelerator.prepare(model, optimiser)
        if saved is not None:
            self.optimiser.load_state_dict(saved.optimiser)
            torch.set_rng_state(saved.rng)
            _log.info("resumed at step %d of %d", saved.step, self.plan.num_steps)
        self.step = 0 if saved is None else saved.step
        self.num_tokens = 0 if saved is None else saved.num_tokens
        self.training_flops = 0 if saved is None else saved.training_flops
        self.elapsed_s = 0.0 if saved is None else saved.elapsed_s
        self.peak_memory_bytes = 0 if saved is None else saved.peak_memory_bytes
        self.num_resumes = 0 if saved is None else saved.num_resumes + 1

    def go(self, stop_after_steps: int | None) -> bool:
        """Take the steps that are left; return whether the budget is spent."""
        is_main = self.accelerator.is_main_process
        self.folder.mkdir(parents=True, exist_ok=True)
        log = TrainingLog(self.folder, self.step) if is_main else None
        last = self.plan.num_steps if stop_after_steps is None else min(stop_after_steps, self.plan.num_steps)
        saved_at = time.monotonic()
        bar = tqdm(
            total=self.plan.num_steps * self.recipe.run.batch_tokens,
            initial=self.num_tokens,
            unit="tok",
            unit_scale=True,
            desc=self.recipe.run.name,
            disable=not is_main,
            mininterval=1.0,
        )
        with bar, contextlib.closing(log) if log else contextlib.nullcontext(), _stop_signals() as stopped:
            while self.step < last:
                line = self._take_step()
                if log:
                    log.append(line)
                bar.update(line["tokens"] - bar.n)
                bar.set_postfix(loss=f"{line['loss']['lm']:.3f}", refresh=False)
                interrupted = stopped.is_set()
                due = time.monotonic() - saved_at >= self.recipe.run.save_every_s
                if due or interrupted or self.step == last:
                    self._save()
                    saved_at = time.monotonic()
                if interrupted:
                    raise TrainingInterrupted(
                        f"stopped after step {self.step} of {self.plan.num_steps}; the state is saved in {self.folder}, "
                        "go on with --resume"
                    )
        return self.step == self.plan.num_steps

    def _take_step(self) -> dict[str, Any]:
        """Take one optimiser step and return its log line."""
        started = time.perf_counter()
        rate = self.plan.learning_rate(self.step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        meter = StepMeter(self.config, self.blocks.accumulation, self.device)
        for batch in self.blocks.micro_batches(self.step):
            with self.accelerator.accumulate(self.model):
                output = self.model(input_ids=batch, labels=batch)
                meter.add(output, batch)
                self.accelerator.backward(output.loss)  # divides the whole loss by the accumulation
                if self.accelerator.sync_gradients:
                    norm = self.accelerator.clip_grad_norm_(
                        self.model.parameters(), self.recipe.optimiser.gradient_clip
                    )
                self.optimiser.step()
                self.optimiser.zero_grad(set_to_none=True)
        summary = meter.summary(self.accelerator)
        if not np.isfinite(summary["loss"]["total"]):
            raise TrainingError(
                f"the loss of step {self.step + 1} is {summary['loss']['total']}; resume from the saved state will meet "
                "it again: lower [optimiser] learning_rate and begin anew"
            )
        seconds = time.perf_counter() - started
        self.step += 1
        self.num_tokens += summary["step_tokens"]
        self.training_flops += summary["step_flops"]
        self.peak_memory_bytes = max(self.peak_memory_bytes, peak_memory_bytes(self.device))
        line = {
            "step": self.step,
            "tokens": self.num_tokens,
            "loss": summary["loss"],
            "learning_rate": rate,
            "grad_norm": float(norm),
            "training_flops": self.training_flops,
            "step_flops": summary["step_flops"],
            "routing_accuracy": summary["routing_accuracy"],
            "depth_shares": summary["depth_shares"],
            "tokens_per_s": summary["step_tokens"] / seconds,
            "peak_memory_bytes": self.peak_memory_bytes,
        }
        every = self.recipe.run.validate_every_steps
        at_end = self.step == self.plan.num_steps
        if self.validation is not None and (at_end or (every and self.step % every == 0)):
            line["validation"] = self._validate(self.validation)
        self.elapsed_s += time.perf_counter() - started
        return {**line, "elapsed_s": self.elapsed_s}

    def _validate(self, blocks: BlockOrder) -> dict[str, float]:
        """Return the loss on fixed blocks of the held-out text under both rules, in nats a token.

        It watches a run. The figure to publish is that of the evaluation, whose windows overlap.
        """
        model = self.accelerator.unwrap_model(self.model)
        model.eval()
        count = min(self.recipe.run.validation_blocks, blocks.blocks_per_epoch)
        size = self.recipe.run.micro_batch
        sums = {"top_k": 0.0, "causal": 0.0}
        # Rows of different lengths would compile anew each time.
        with torch.no_grad(), torch.compiler.set_stance("force_eager"), self.accelerator.autocast():
            for start in range(0, count, size):
                rows = [blocks.block(number) for number in range(start, min(start + size, count))]
                batch = torch.from_numpy(np.stack(rows)).to(self.device)
                for name in sums:
                    output = model(
                        input_ids=batch,
                        labels=batch,
                        logits_to_keep=1,
                        use_cache=False,
                        routing=RoutingRule.parse(name),
                    )
                    sums[name] += float(output.loss_terms["lm"]) * len(batch) / count
        model.train()
        return {f"nll_{name}_nats_per_token": total for name, total in sums.items()}

    def _save(self) -> None:
        if self.accelerator.is_main_process:
            save_state(
                self.folder,
                RunState(
                    step=self.step,
                    num_tokens=self.num_tokens,
                    training_flops=self.training_flops,
                    elapsed_s=self.elapsed_s,
                    peak_memory_bytes=self.peak_memory_bytes,
                    num_resumes=self.num_resumes,
                    facts=self.facts,
                    model=self.accelerator.unwrap_model(self.model).state_dict(),
                    optimiser=self.optimiser.state_dict(),
                    rng=torch.get_rng_state(),
                ),
            )
        self.accelerator.wait_for_everyone()

    def finish(self, folder: Path, recipe_path: Path) -> None:
        """Write the checkpoint: weights, tokenizer, recipe, log and provenance."""
        if self.accelerator.is_main_process:
            from mor_core.checkpoint import save_checkpoint
            text = json.dumps(self.provenance(recipe_path), indent=2)
            save_checkpoint(
                folder,
                self.accelerator.unwrap_model(self.model).eval(),
                self.tokenizer,
                files={
                    "recipe.toml": recipe_text(self.recipe),
                    "train_log.jsonl": (self.folder / "train_log.jsonl").read_bytes(),
                    "provenance.json": f"{text}\n",
                },
            )
        self.accelerator.wait_for_everyone()

    def provenance(self, recipe_path: Path) -> dict[str, Any]:
        """Return where the weights come from; names of files, not their places on this machine."""
        launcher = "accelerate launch -m mor_core.cli" if self.accelerator.num_processes > 1 else "mor"
        return {
            "name": self.recipe.run.name,
            "title": self.recipe.run.title,
            "command": f"{launcher} train recipes/{recipe_path.name}",
            "code_revision": code_revision(),
            "data": self.recipe.data.train or self.recipe.data.hugging_face,
            "validation_data": self.recipe.data.valid or self.recipe.data.valid_split,
            **{name: value for name, value in self.facts.items() if name != "recipe"},
            "seed": self.recipe.run.seed,
            "num_steps": self.step,
            "num_tokens": self.num_tokens,
            "training_flops": self.training_flops,
            "elapsed_s": self.elapsed_s,
            "num_resumes": self.num_resumes,
            "peak_memory_bytes": self.peak_memory_bytes,
            "hardware": hardware(self.device),
            "num_processes": self.accelerator.num_processes,
            "precision": "bf16" if self.accelerator.mixed_precision == "bf16" else "fp32",
            "compiled": self.recipe.run.compile,
            "versions": package_versions(),
        }


class _StepBlocks:
    """Which blocks each step and process reads: a function of the step alone."""

    def __init__(
        self, recipe: Recipe, plan: Plan, corpus: TokenisedCorpus, accelerator: Accelerator
    ) -> None:
        length = recipe.config().max_position_embeddings
        self.per_step = recipe.run.batch_tokens // length
        self.micro = recipe.run.micro_batch
        self.accelerator = accelerator
        self.accumulation: int = accelerator.gradient_accumulation_steps
        self.first_decay_step = plan.first_decay_step
        self.all = BlockOrder(corpus, length, recipe.run.seed)
        self.final = None
        if recipe.data.final_documents == "simple":
            simple = simplest_documents(corpus, recipe.data.final_share)
            self.final = BlockOrder(corpus, length, recipe.run.seed, simple)

    def micro_batches(self, step: int) -> Iterator[Tensor]:
        """Yield this process's batches (micro_batch, block length) of a 0-based step."""
        order, first = self.all, step * self.per_step
        if self.final is not None and step >= self.first_decay_step:
            order, first = self.final, (step - self.first_decay_step) * self.per_step
        processes, own = self.accelerator.num_processes, self.accelerator.process_index
        for index in range(self.accumulation):
            start = first + (index * processes + own) * self.micro
            rows = [order.block(number) for number in range(start, start + self.micro)]
            yield torch.from_numpy(np.stack(rows)).to(self.accelerator.device)


def _accelerator(recipe: Recipe) -> Accelerator:
    """Start Accelerate with the recipe's precision and accumulation.

    Raises:
        TrainingError: the batch does not divide among the processes.
    """
    probe = PartialState()
    sequences = recipe.run.batch_tokens // recipe.config().max_position_embeddings
    at_once = recipe.run.micro_batch * probe.num_processes
    if sequences % at_once:
        raise TrainingError(
            f"[run] batch_tokens must be a multiple of micro_batch x context x processes, got {sequences} sequences for "
            f"{probe.num_processes} processes of {recipe.run.micro_batch}; change micro_batch"
        )
    precision = recipe.run.precision
    if precision == "auto":
        precision = "bf16" if multiplies_bf16_natively(probe.device) else "fp32"
    return Accelerator(
        mixed_precision="bf16" if precision == "bf16" else "no",
        gradient_accumulation_steps=sequences // at_once,
    )


def _check_same_run(saved: dict[str, Any], now: dict[str, Any]) -> None:
    changed = parse_recipe(saved["recipe"]).changed_fields(parse_recipe(now["recipe"]))
    changed += [name for name in now if name != "recipe" and now[name] != saved[name]]
    if changed:
        raise TrainingError(
            f"the saved run differs in {', '.join(changed)}; resume with what it began with, "
            "or give the new run another [run] name"
        )


@contextlib.contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """Turn Ctrl-C and SIGTERM into a flag, so that a step is finished and saved; a second Ctrl-C stops at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def remember(number: int, frame: object) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        sys.stderr.write("\nstopping after this step ...\n")

    before = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
