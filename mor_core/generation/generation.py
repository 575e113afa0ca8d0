"""Generates text and says, token by token, what the model did; or reads a text and says the same.

Yields plain records (`trace.py`), one update a token, and stops cleanly between tokens. The prompt
always begins a document.

Shapes: S positions of a call, R recursions, V vocabulary.
"""

import time
from collections.abc import Callable, Iterable, Iterator

from mor_core.checkpoints.checkpoint import LoadedCheckpoint
from mor_core.checkpoints.tokenizer import DOCUMENT_START_ID, encode_text
from mor_core.generation.generation_run import PromptError as PromptError
from mor_core.generation.generation_run import Run, Sampling, TraceUpdate, checked_text
from mor_core.generation.trace_recorder import Recorder
from mor_core.model.routing_rules import RoutingRule
from mor_core.serving.aot_compile import DecodeKernels
from mor_core.serving.engine import Engine, can_follow, keeps_cache
from mor_core.traces.trace import TokenRecord, Trace
from mor_core.traces.windows import Window, split_windows

MAX_TEXT_CHARACTERS = 50_000


def generate_with_trace(
    loaded: LoadedCheckpoint,
    prompt: str,
    *,
    max_new_tokens: int = 100,
    temperature: float = 0.7,
    top_k: int | None = None,
    seed: int = 0,
    routing: RoutingRule | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    kernels: DecodeKernels | None = None,
) -> Iterator[TraceUpdate]:
    """Continue a prompt; yield one update a new token.

    Args:
        loaded: model and tokenizer.
        prompt: text; what spells a special token in it is ordinary text.
        max_new_tokens: the most that is generated.
        temperature: 0 always takes the most probable token.
        top_k: draw from the k most probable tokens; `None` from all.
        seed: of the sampling, drawn on the CPU so that devices agree.
        routing: who goes how deep; default the causal rule.
        should_stop: asked between tokens.
        kernels: of this model, where each token is to run compiled parts; a rule that sees the future does not.

    Raises:
        ValueError: a setting is out of range, or the rule does not fit the model.
        PromptError: the prompt is empty or longer than the context.
    """
    sampling = Sampling(max_new_tokens, temperature, top_k, seed)
    run = Run(loaded, prompt, sampling, routing or RoutingRule.causal(), should_stop)
    if can_follow(loaded.model, run.rule):
        engine = Engine(loaded.model, num_slots=1, kernels=kernels)
        updates = share_engine(engine, run)
        return (update for update in updates if update is not None)
    return recompute(run)


def generate_together(
    loaded: LoadedCheckpoint,
    engine: Engine | None,
    prompt: str,
    sampling: Sampling,
    routing: RoutingRule,
    should_stop: Callable[[], bool],
) -> Iterator[TraceUpdate | None]:
    """Do as `generate_with_trace` does, beside others on one engine; `None` where nothing is new.

    Whoever drives several of these takes one update from each in turn: the first of a round moves the engine, for all.

    Args:
        loaded: model and tokenizer.
        engine: of this model; made for this run alone if `None`.
        prompt: text.
        sampling: how tokens are drawn.
        routing: who goes how deep; a rule that the engine cannot follow runs beside it, token by token.
        should_stop: asked between tokens.

    Raises:
        ValueError: a setting is out of range, or the rule does not fit the model.
        PromptError: the prompt is empty or longer than the context.
    """
    run = Run(loaded, prompt, sampling, routing, should_stop)
    if can_follow(loaded.model, run.rule):
        return share_engine(engine or Engine(loaded.model, num_slots=1), run)
    return recompute(run)


def share_engine(engine: Engine, run: Run) -> Iterator[TraceUpdate | None]:
    """Yield a run's updates from an engine that others may use; `None` where a step brought nothing for it.

    Raises:
        RuntimeError: a model call failed, such as for want of memory.
    """
    flight = engine.submit(run)
    seen = engine.num_steps
    try:
        while True:
            if (
                not run.updates and engine.num_steps == seen
            ):  # nobody has moved it since this run's last turn
                engine.step()
            seen = engine.num_steps
            if not run.updates:
                engine.check_flight(flight)
                yield None
                continue
            update = run.updates.popleft()
            yield update
            if update.finish_reason:
                return
    finally:
        engine.cancel(flight)


def recompute(run: Run) -> Iterator[TraceUpdate]:
    """Yield a run's updates from whole calls of the model: what rules need that see the future.

    Where the rule and the model allow a cache, it is used; this is the slow twin of the engine.
    """
    recorder = run.recorder
    keeps = keeps_cache(recorder.config, run.rule)
    fed, cache, new = list(run.ids), None, None
    while True:
        started = time.perf_counter()
        output = recorder.call(fed, cache, use_cache=keeps)
        cache = output.past_key_values
        taken = run.begin if new is None else run.repeat
        new = taken(output, time.perf_counter() - started)
        yield run.updates.popleft()
        if new is None:
            return
        fed = [new] if keeps else [*fed, new]


def analyse_text(
    loaded: LoadedCheckpoint,
    text: str,
    *,
    routing: RoutingRule | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[TraceUpdate]:
    """Read a text; yield one update a window of the context's length (one in all for a text that fits).

    Raises:
        ValueError: the rule does not fit the model.
        PromptError: the text is empty or longer than `MAX_TEXT_CHARACTERS`.
    """
    rule = routing or RoutingRule.causal()
    rule.check(loaded.model.config)
    ids = [
        DOCUMENT_START_ID,
        *encode_text(loaded.tokenizer, checked_text(text, MAX_TEXT_CHARACTERS)),
    ]
    recorder = Recorder(loaded, "analyse", rule, {})
    windows = split_windows(len(ids), recorder.config.max_position_embeddings)
    if len(windows) > 1:
        recorder.header.windows = [[window.start, window.end] for window in windows]
    return _analyse(recorder, ids, windows, should_stop)


def _analyse(
    recorder: Recorder, ids: list[int], windows: list[Window], should_stop: Callable[[], bool]
) -> Iterator[TraceUpdate]:
    for window in windows:
        started = time.perf_counter()
        fed = ids[window.start : window.end]
        output = recorder.call(fed, None, use_cache=True)
        records = recorder.read_tokens(output, fed, window.start, from_position=window.first_new)
        step = recorder.record_step(output, records, time.perf_counter() - started)
        reason = "length" if window is windows[-1] else "cancelled" if should_stop() else None
        yield TraceUpdate(recorder.header, records, None, step, reason and recorder.finish(reason))
        if reason:
            return


def collect_trace(updates: Iterable[TraceUpdate]) -> Trace:
    """Run to the end and return the whole trace.

    Raises:
        ValueError: there was no update.
    """
    trace: Trace | None = None
    newest: TokenRecord | None = None
    for update in updates:
        trace = trace or Trace(update.header)
        trace.tokens += update.completed
        trace.steps += [update.step] if update.step else []
        newest = update.newest
    if trace is None:
        raise ValueError("a trace needs at least one update, got none")
    if newest is not None:
        trace.tokens.append(newest)
    return trace
