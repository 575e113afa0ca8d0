"""The recorded runs that the lessons of the app's Learn page show: a list of them as data, and how to record them.

Every choice that a lesson offers is one of these runs, computed with that setting. Runs that generate are recorded for
their timing: record them on an otherwise idle machine.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mor_core.common.logistic import sigmoid
from mor_core.traces.presets import PRESETS
from mor_core.traces.trace import TRACE_SUFFIX, Trace
from mor_core.traces.trace_file import save_trace

if TYPE_CHECKING:
    from mor_core.checkpoints.checkpoint import LoadedCheckpoint

FOLDER = "traces-learn"
SENTENCES = (
    "The little fox came to the gate and stopped.",
    ' "Good morning," said the old woman.',
    ' "Where are you going so early?"',
    ' "I am going to the market," said the fox,',
    ' "to buy bread and milk for my mother."',
    " The old woman looked at him and laughed.",
)
TEXT = "".join(SENTENCES)
CAUSAL_RUN = f"read-causal-{len(SENTENCES)}"
THRESHOLD_LOGITS = (-4, -2, -1, 0, 1, 2, 4)
RANDOM_SEEDS = (0, 1, 2, 3)
DEPTHS = (1, 2, 3)
NEW_TOKENS = 120
TEMPERATURE = 0.7
TIMED = [f"write-{number}" for number in range(1, 9)]


@dataclass(frozen=True)
class LessonRun:
    """One run to record.

    Attributes:
        name: file name without the suffix.
        text: the text to analyse, or to continue where `new_tokens` is not 0.
        routing: the rule as the command line writes it.
        threshold_logit: for `causal`, on the logit scale; 0 is the trained threshold.
        seed: of random routing.
        kv_strategy: replaces the one that the model was trained with; empty keeps it.
        new_tokens: number of tokens to generate.
    """

    name: str
    text: str = TEXT
    routing: str = "causal"
    threshold_logit: float = 0.0
    seed: int = 0
    kv_strategy: str = ""
    new_tokens: int = 0

    @property
    def threshold(self) -> float:
        """The threshold as a score."""
        return sigmoid(self.threshold_logit)


def beginning(num_sentences: int) -> str:
    """Return the first sentences of the text."""
    return "".join(SENTENCES[:num_sentences])


def threshold_run(logit: int) -> str:
    """Return the name of the run that analyses the text at a threshold."""
    if logit == 0:
        return CAUSAL_RUN
    return f"read-threshold-{'minus-' if logit < 0 else ''}{abs(logit)}"


def lesson_runs() -> list[LessonRun]:
    """List all runs of the lessons."""
    runs = [
        LessonRun(f"read-{rule}-{count}", beginning(count), rule)
        for rule in ("causal", "top_k")
        for count in range(1, len(SENTENCES) + 1)
    ]
    runs += [
        LessonRun(threshold_run(logit), threshold_logit=logit)
        for logit in THRESHOLD_LOGITS
        if logit != 0
    ]
    runs += [  # recorded when random routing depended on the position only
        LessonRun(f"read-random-{seed}", routing="random_by_position", seed=seed)
        for seed in RANDOM_SEEDS
    ]
    runs += [LessonRun(f"read-depth-{depth}", routing=f"fixed:{depth}") for depth in DEPTHS]
    runs += [LessonRun("read-shared", kv_strategy="shared")]
    timed = zip(TIMED, PRESETS, strict=False)
    return runs + [LessonRun(name, preset.prompt, new_tokens=NEW_TOKENS) for name, preset in timed]


def record_lessons(loaded: "LoadedCheckpoint", say: Callable[[str], None]) -> list[Path]:
    """Record all runs of the lessons; replaces the traces in traces-learn/."""
    folder = loaded.info.path / FOLDER
    for path in folder.glob(f"*{TRACE_SUFFIX}"):
        path.unlink()
    paths = []
    for run in lesson_runs():
        path = folder / f"{run.name}{TRACE_SUFFIX}"
        save_trace(record_lesson(loaded, run), path)
        paths.append(path)
        say(f"recorded {path.name}")
    return paths


def record_lesson(loaded: "LoadedCheckpoint", run: LessonRun) -> Trace:
    """Compute one run of the lessons.

    Raises:
        ValueError: the checkpoint cannot follow the rule, for example for want of an expert-choice router.
    """
    from mor_core.generation.generation import analyse_text, collect_trace, generate_with_trace
    from mor_core.model.routing_rules import RoutingRule

    rule = RoutingRule.parse(run.routing, threshold=run.threshold, seed=run.seed)
    if run.kv_strategy:
        loaded = _with_kv_strategy(loaded, run.kv_strategy)
    updates = (
        generate_with_trace(
            loaded,
            run.text,
            max_new_tokens=run.new_tokens,
            temperature=TEMPERATURE,
            seed=0,
            routing=rule,
        )
        if run.new_tokens
        else analyse_text(loaded, run.text, routing=rule)
    )
    trace = collect_trace(updates)
    trace.header.title = run.name
    return trace


def _with_kv_strategy(loaded: "LoadedCheckpoint", kv_strategy: str) -> "LoadedCheckpoint":
    """Return the same weights with another KV strategy, which the trace's header names."""
    import torch

    from mor_core.model.model import MoRForCausalLM

    config = loaded.model.config.replaced(kv_strategy=kv_strategy)
    with torch.device("meta"):
        model = MoRForCausalLM(config)
    model.load_state_dict(loaded.model.state_dict(), assign=True)
    model.tie_weights()
    info = dataclasses.replace(
        loaded.info, config=loaded.info.config | {"kv_strategy": kv_strategy}
    )
    return dataclasses.replace(loaded, model=model.eval(), info=info)
