"""Runs EleutherAI's lm-evaluation-harness on a checkpoint under the causal rule.

The harness is an optional extra and is imported only when it runs; `CausalAnswers` does not depend on it.
"""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from transformers import StoppingCriteriaList, StopStringCriteria

from mor_core.checkpoints.checkpoint import LoadedCheckpoint
from mor_core.checkpoints.tokenizer import DOCUMENT_START_ID, encode_text
from mor_core.evaluation.evaluation import evaluate
from mor_core.evaluation.small_tasks import score_pairs
from mor_core.model.routing_rules import RoutingRule

EXTRA = 'pip install "mor-explorer[lm-eval]"'
MAX_NEW_TOKENS = 256  # for tasks that set no limit


class Request(Protocol):
    """A request of the harness; `args` are its arguments."""

    args: tuple[Any, ...]


class CausalAnswers:
    """The harness's three request types. Every text begins a document; no routing decision depends on a later token."""

    def __init__(self, loaded: LoadedCheckpoint) -> None:
        super().__init__()
        self.loaded = loaded
        self.rule = RoutingRule.causal()

    def loglikelihood(self, requests: Sequence[Request]) -> list[tuple[float, bool]]:
        """Return for each (context, ending) the ending's log-probability, and whether greedy decoding produces it."""
        return score_pairs(
            self.loaded, [(before, after) for before, after in _args(requests)], self.rule
        )

    def loglikelihood_rolling(self, requests: Sequence[Request]) -> list[float]:
        """Return each text's log-probability, by the protocol of `evaluation.py`: windows moved by half a window."""
        found = evaluate(self.loaded, [text for (text,) in _args(requests)], self.rule)
        return [-nats for nats in found.nll_nats]

    def generate_until(self, requests: Sequence[Request]) -> list[str]:
        """Continue each text greedily up to a stop string, which is left out, or to the requested number of tokens.

        Raises:
            ValueError: a task asks for sampling.
        """
        return [self._continue(text, dict(settings)) for text, settings in _args(requests)]

    def _continue(self, text: str, settings: dict[str, Any]) -> str:
        if settings.get("do_sample") or settings.get("temperature"):
            raise ValueError(f"generate_until is greedy here; the task asks for {settings}")
        until = settings.get("until") or []
        stops = [stop for stop in ([until] if isinstance(until, str) else until) if stop]
        context = self.loaded.model.config.max_position_embeddings
        wanted = int(settings.get("max_gen_toks") or MAX_NEW_TOKENS)
        room = min(wanted, context // 2)  # the text keeps at least half of the context
        ids = [DOCUMENT_START_ID, *encode_text(self.loaded.tokenizer, text)][-(context - room) :]
        given = torch.tensor([ids], device=self.loaded.model.device)
        criteria = StoppingCriteriaList()
        if stops:
            criteria.append(StopStringCriteria(self.loaded.tokenizer, stops))
        output = self.loaded.model.generate(
            given,
            max_new_tokens=room,
            do_sample=False,
            routing=self.rule,
            stopping_criteria=criteria,
        )
        new = output[0, len(ids) :].tolist()
        written = str(self.loaded.tokenizer.decode(new, skip_special_tokens=True))
        ends = [index for index in map(written.find, stops) if index >= 0]
        return written[: min(ends)] if ends else written


def run_tasks(
    loaded: LoadedCheckpoint,
    names: Sequence[str],
    folder: Path | None,
    *,
    limit: int | None = None,
    few_shot: int | None = None,
) -> dict[str, dict[str, Any]]:
    """Run tasks of the harness and return the figures of each.

    Args:
        loaded: model and tokenizer.
        names: of tasks, from the harness or from `folder`.
        folder: with further tasks as YAML files.
        limit: items per task; `None` for all.
        few_shot: solved examples before each item; `None` for the task's default.

    Raises:
        ValueError: the extra is not installed, or a task is unknown.
    """
    evaluator, base, tasks = map(_part, ("evaluator", "api.model", "tasks"))
    model = type("MoRModel", (CausalAnswers, base.LM), {})(loaded)
    found = evaluator.simple_evaluate(
        model=model,
        tasks=list(names),
        task_manager=task_manager(tasks, names, folder),
        num_fewshot=few_shot,
        limit=limit,
        bootstrap_iters=0,
        log_samples=False,
    )
    return {
        name: {"num_items": found["n-samples"][name]["effective"], **_figures(figures)}
        for name, figures in found["results"].items()
    }


def task_manager(tasks: Any, names: Sequence[str], folder: Path | None) -> Any:
    """Return a TaskManager; it reads the folder alone if that has all tasks, since the harness's thousands are slow."""
    unknown: Sequence[str] = names
    if folder is not None:
        manager = tasks.TaskManager(include_path=str(folder), include_defaults=False)
        unknown = [name for name in names if name not in manager.all_tasks]
    if unknown:
        manager = tasks.TaskManager(include_path=None if folder is None else str(folder))
        unknown = [name for name in names if name not in manager.all_tasks]
    if unknown:
        raise ValueError(
            f"lm-evaluation-harness knows no task {', '.join(unknown)}; write our own two with: "
            "mor tasks --text FILE FOLDER, and give --tasks-folder FOLDER"
        )
    return manager


def _args(requests: Sequence[Request]) -> list[tuple[Any, ...]]:
    return [request.args for request in requests]


def _figures(figures: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a task, without the harness's filter in their names and without standard errors."""
    return {
        name.removesuffix(",none"): value
        for name, value in figures.items()
        if isinstance(value, float) and "stderr" not in name
    }


def _part(name: str) -> Any:
    try:
        return importlib.import_module(f"lm_eval.{name}")
    except ModuleNotFoundError as error:
        raise ValueError(
            f"lm-evaluation-harness is not installed ({error}); install it with: {EXTRA}"
        ) from error
