"""Generates text and says, token by token, what the model did; or reads a text and says the same.

Yields plain records (`trace.py`), one update a token, and stops cleanly between tokens. The prompt
always begins a document.

Shapes: S positions of a call, R recursions, V vocabulary.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mor_core.checkpoint import LoadedCheckpoint
from mor_core.recorder import Recorder
from mor_core.rules import MAX_SEED, RoutingRule
from mor_core.tokenizer import DOCUMENT_START_ID, encode_text
from mor_core.trace import StepRecord, TokenRecord, Trace, TraceHeader
from mor_core.windows import Window, split_windows

MAX_TEXT_CHARACTERS = 50_000


class PromptError(ValueError):
    """A text that cannot be run, with the rule and the remedy."""


@dataclass
class TraceUpdate:
    """What became known with one model call.

    Attributes:
        header: of the run, the same object in every update; its totals grow.
        completed: tokens whose depth is known now: the whole prompt after the prefill, then one at a time.
        newest: the token just chosen; its depth comes with the next update, if there is one.
        step: the model call.
        finish_reason: set in the last update.
    """

    header: TraceHeader
    completed: list[TokenRecord] = field(default_factory=list)
    newest: TokenRecord | None = None
    step: StepRecord | None = None
    finish_reason: str | None = None


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

    Raises:
        ValueError: a setting is out of range, or the rule does not fit the model.
        PromptError: the prompt is empty or longer than the context.
    """
    rule = routing or RoutingRule.causal()
    rule.check(loaded.model.config)
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens must be at least 1, got {max_new_tokens}")
    if not 0 <= temperature <= 100:
        raise ValueError(f"temperature must lie between 0 (greedy) and 100, got {temperature}")
    if top_k is not None and top_k < 1:
        raise ValueError(
            f"top_k must be at least 1, got {top_k}; leave it out to draw from all tokens"
        )
    if not 0 <= seed <= MAX_SEED:
        raise ValueError(f"seed must lie between 0 and {MAX_SEED}, got {seed}")
    ids = _prompt_ids(loaded, prompt)
    sampling = {
        "temperature": temperature,
        "top_k": top_k,
        "seed": seed,
        "max_new_tokens": max_new_tokens,
    }
    recorder = Recorder(loaded, "generate", rule, sampling)
    sampler = _Sampler(temperature, top_k, seed)
    return _generate(recorder, sampler, ids, max_new_tokens, should_stop)


def _generate(
    recorder: Recorder,
    sampler: "_Sampler",
    ids: list[int],
    max_new_tokens: int,
    should_stop: Callable[[], bool],
) -> Iterator[TraceUpdate]:
    context = recorder.config.max_position_embeddings
    recomputes = recorder.rule.sees_future or not recorder.config.keys_outlive_a_call
    pending: TokenRecord | None = None
    cache = None
    fed = ids
    while True:
        started = time.perf_counter()
        output = recorder.call(fed, cache, use_cache=not recomputes)
        cache = output.past_key_values
        logits = recorder.last_logits
        chosen = sampler.choose(logits)
        latency_s = time.perf_counter() - started
        if pending is None:
            completed = recorder.read_tokens(output, fed, 0)
        else:
            completed = [recorder.complete(pending, output)]
            pending.latency_s = latency_s
        position = completed[-1].position + 1
        step = recorder.record_step(output, completed, latency_s)
        if position >= context:
            yield TraceUpdate(
                recorder.header, completed, None, step, recorder.finish("context_full")
            )
            return
        pending = recorder.chosen_token(chosen, position, logits)
        reason = None
        if chosen in recorder.stop_ids:
            reason = "stop_token"
        elif position - len(ids) + 1 >= max_new_tokens:
            reason = "length"
        elif position == context - 1:
            reason = "context_full"
        elif should_stop():
            reason = "cancelled"
        if reason:
            yield TraceUpdate(recorder.header, completed, pending, step, recorder.finish(reason))
            return
        yield TraceUpdate(recorder.header, completed, pending, step)
        fed = [*fed, chosen] if recomputes else [chosen]


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
        *encode_text(loaded.tokenizer, _checked(text, MAX_TEXT_CHARACTERS)),
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


class _Sampler:
    """Draws tokens from logits; its own generator, so that runs beside it change nothing."""

    def __init__(self, temperature: float, top_k: int | None, seed: int) -> None:
        self.temperature = temperature
        self.top_k = top_k
        self.generator = torch.Generator().manual_seed(seed)

    def choose(self, logits: Tensor) -> int:
        """Return a token id; logits (V,) on the CPU."""
        if self.temperature == 0:
            return int(logits.argmax())
        scaled = logits / self.temperature
        if self.top_k is not None and self.top_k < len(scaled):
            least = scaled.topk(self.top_k).values[-1]
            scaled = scaled.masked_fill(scaled < least, float("-inf"))
        return int(torch.multinomial(scaled.softmax(-1), 1, generator=self.generator))


def _prompt_ids(loaded: LoadedCheckpoint, prompt: str) -> list[int]:
    context = loaded.model.config.max_position_embeddings
    # No token is longer than the longest, so this refuses nothing that could fit, before any work is done.
    longest = max(map(len, loaded.tokenizer.get_vocab())) * context
    ids = [DOCUMENT_START_ID, *encode_text(loaded.tokenizer, _checked(prompt, longest))]
    if len(ids) >= context:
        raise PromptError(
            f"the prompt must leave room in the context of {context} tokens, got {len(ids)} tokens; "
            "shorten it, or read it as a text on the Explore page"
        )
    return ids


def _checked(text: str, longest: int) -> str:
    if not text.strip():
        raise PromptError("the text must not be empty; type at least one word")
    if len(text) > longest:
        raise PromptError(
            f"the text must have at most {longest:,} characters, got {len(text):,}; shorten it"
        )
    return text
