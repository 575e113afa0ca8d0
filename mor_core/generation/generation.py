"""Generates or analyses text, and reports for each token what the model computed.

Yields plain records (`trace.py`), one update per generated token, and stops cleanly between tokens. The prompt always
begins a document. `submit` and `dispatch` are shared by every loop that steps an engine: the loop below with one
request, and the server's worker with many.
"""

from collections.abc import Callable, Iterator

from mor_core.checkpoints.checkpoint import LoadedCheckpoint
from mor_core.checkpoints.tokenizer import DOCUMENT_START_ID, encode_text
from mor_core.generation.generation_run import PromptError as PromptError
from mor_core.generation.generation_run import Run, Sampling, checked_text
from mor_core.generation.trace_recorder import Recorder
from mor_core.model.routing_rules import RoutingRule
from mor_core.serving.aot_compile import CompiledModules
from mor_core.serving.engine import Engine, can_follow, keeps_cache
from mor_core.serving.request_state import RequestState
from mor_core.traces.trace_updates import TraceUpdate
from mor_core.traces.trace_updates import collect_trace as collect_trace
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
    compiled: CompiledModules | None = None,
) -> Iterator[TraceUpdate]:
    """Continue a prompt; yield one update per new token.

    Args:
        loaded: model and tokenizer.
        prompt: text; the spelling of a special token in it is ordinary text.
        max_new_tokens: the most that is generated.
        temperature: 0 always takes the most probable token.
        top_k: sample from the k most probable tokens; `None` from all.
        seed: of the sampling, which runs on the CPU so that all devices give the same tokens.
        routing: the routing rule; default the causal one.
        should_stop: called between tokens; true stops the run.
        compiled: compiled modules of this model, for every generated token; rules that see the future ignore them.

    Raises:
        ValueError: a setting is out of range, or the rule does not fit the model.
        PromptError: the prompt is empty or longer than the context.
    """
    sampling = Sampling(max_new_tokens, temperature, top_k, seed)
    run = Run(loaded, prompt, sampling, routing or RoutingRule.causal(), should_stop)
    if can_follow(loaded.model, run.rule):
        return _generate(Engine(loaded.model, compiled=compiled), run)
    return recompute(run)


def submit(engine: Engine, run: Run) -> RequestState:
    """Submit a run to an engine, which starts it at its next step.

    Raises:
        ValueError: the engine cannot follow the run's rule.
    """
    return engine.submit(run.ids, run.rule, run.max_new_tokens, wants_prompt_logits=True)


def dispatch(engine: Engine, request: RequestState, run: Run) -> TraceUpdate:
    """Give a run the result of its engine step, and give the engine the token that the run chose.

    Raises:
        Exception: the error that ended the request: of the model call, the sampling or the recording.
    """
    update = run.take(request.result())
    if update.newest is None or update.finish_reason is not None:
        engine.end(request)
    else:
        engine.take_token(request, update.newest.token_id)
    return update


def _generate(engine: Engine, run: Run) -> Iterator[TraceUpdate]:
    """Yield the updates of a run that is the only one on its engine."""
    submit(engine, run)
    while not engine.is_idle:
        for request in engine.step():
            yield dispatch(engine, request, run)


def recompute(run: Run) -> Iterator[TraceUpdate]:
    """Yield a run's updates from calls on the whole sequence, as rules that see the future need them.

    Where the rule and the model allow a cache, it is used; this is the slow reference of the engine.
    """
    recorder = run.recorder
    keeps = keeps_cache(recorder.config, run.rule)
    input_ids, cache = list(run.ids), None
    while True:
        processed, cache = recorder.call(input_ids, cache, use_cache=keeps)
        update = run.take(processed)
        yield update
        if update.newest is None or update.finish_reason is not None:
            return
        new = update.newest.token_id
        input_ids = [new] if keeps else [*input_ids, new]


def analyse_text(
    loaded: LoadedCheckpoint,
    text: str,
    *,
    routing: RoutingRule | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[TraceUpdate]:
    """Analyse a text; yield one update per window of the context's length (a single one for a text that fits).

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
        input_ids = ids[window.start : window.end]
        processed, _ = recorder.call(input_ids, use_cache=True)
        skip = window.first_new - window.start
        records = recorder.read_tokens(processed, input_ids, window.start, skip=skip)
        step = recorder.record_step(processed, records)
        reason = "length" if window is windows[-1] else "cancelled" if should_stop() else None
        recorder.header.finish_reason = reason
        yield TraceUpdate(recorder.header, records, None, step, reason)
        if reason:
            return
