"""One run that continues a text: checks its settings, samples tokens, and turns results of model calls into updates.

The caller (`generation.py` or the server's worker) runs the model and passes in the result of each call.

Shapes: V vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mor_core.checkpoints.checkpoint import LoadedCheckpoint
from mor_core.checkpoints.token_text import vocabulary_of
from mor_core.checkpoints.tokenizer import DOCUMENT_START_ID, encode_text
from mor_core.common.errors import UserError
from mor_core.generation.trace_recorder import Recorder
from mor_core.model.routing_rules import MAX_SEED, RoutingRule
from mor_core.serving.processed import Processed
from mor_core.traces.trace import StepRecord, TokenRecord
from mor_core.traces.trace_updates import TraceUpdate


class PromptError(UserError):
    """A text that a model cannot run, with the rule and the remedy."""


@dataclass(frozen=True)
class Sampling:
    """How tokens are sampled.

    Attributes:
        max_new_tokens: the most that is generated.
        temperature: 0 always takes the most probable token.
        top_k: sample from the k most probable tokens; `None` from all.
        seed: of the sampling, which runs on the CPU so that all devices give the same tokens.

    Raises:
        ValueError: a number is out of range.
    """

    max_new_tokens: int = 100
    temperature: float = 0.7
    top_k: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be at least 1, got {self.max_new_tokens}")
        if not 0 <= self.temperature <= 100:
            raise ValueError(
                f"temperature must lie between 0 (greedy) and 100, got {self.temperature}"
            )
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(
                f"top_k must be at least 1, got {self.top_k}; leave it out to sample from all tokens"
            )
        if not 0 <= self.seed <= MAX_SEED:
            raise ValueError(f"seed must lie between 0 and {MAX_SEED}, got {self.seed}")


class Run:
    """The continuation of one prompt.

    Attributes:
        ids: token ids of the prompt; the trace records their probabilities, so the prefill must return all logits.
        rule: its routing rule.
        max_new_tokens: the most that is generated.
    """

    def __init__(
        self,
        loaded: LoadedCheckpoint,
        prompt: str,
        sampling: Sampling,
        rule: RoutingRule,
        should_stop: Callable[[], bool],
    ) -> None:
        """Check rule and prompt.

        Raises:
            ValueError: the rule does not fit the model.
            PromptError: the prompt is empty or longer than the context.
        """
        rule.check(loaded.model.config)
        self.ids: list[int] = _prompt_ids(loaded, prompt)
        self.rule = rule
        self.max_new_tokens = sampling.max_new_tokens
        self.recorder = Recorder(loaded, "generate", rule, dict(vars(sampling)))
        self._sampler = _Sampler(sampling)
        self._should_stop = should_stop
        self._pending: TokenRecord | None = None
        self._context: int = loaded.model.config.max_position_embeddings

    def take(self, processed: Processed) -> TraceUpdate:
        """Take the result of a call for this run: of the prompt at first, then of the chosen token (the call's last).

        Returns:
            The update; its `newest` token is to be processed next unless the update has a finish reason.
        """
        if self._pending is None:
            completed = self.recorder.read_tokens(processed, self.ids)
        else:
            completed = [self.recorder.complete(self._pending, processed)]
        step = self.recorder.record_step(processed, completed)
        return self._choose(completed, step, processed.logits[-1].cpu())

    def _choose(
        self, completed: list[TokenRecord], step: StepRecord, logits: Tensor
    ) -> TraceUpdate:
        """Sample the next token from logits (V,) on the CPU, and return the update."""
        recorder, position = self.recorder, completed[-1].position + 1
        context = self._context
        if position >= context:
            return self._update(completed, None, step, "context_full")
        chosen = self._sampler.choose(logits)
        self._pending = recorder.chosen_token(chosen, position, logits)
        reason = None
        if chosen in recorder.stop_ids:
            reason = "stop_token"
        elif position - len(self.ids) + 1 >= self.max_new_tokens:
            reason = "length"
        elif position == context - 1:
            reason = "context_full"
        elif self._should_stop():
            reason = "cancelled"
        return self._update(completed, self._pending, step, reason)

    def _update(
        self,
        completed: list[TokenRecord],
        newest: TokenRecord | None,
        step: StepRecord,
        reason: str | None,
    ) -> TraceUpdate:
        header = self.recorder.header
        header.finish_reason = reason
        return TraceUpdate(header, completed, newest, step, reason)


class _Sampler:
    """Samples tokens from logits, with its own generator, so that concurrent runs do not change its tokens."""

    def __init__(self, sampling: Sampling) -> None:
        self.temperature = sampling.temperature
        self.top_k = sampling.top_k
        self.generator = torch.Generator().manual_seed(sampling.seed)

    def choose(self, logits: Tensor) -> int:
        """Return a token id; logits (V,) on the CPU."""
        if self.temperature == 0:
            return int(
                logits.numpy().argmax()
            )  # takes a quarter of the time of PyTorch's argmax for one row
        scaled = logits / self.temperature
        if self.top_k is not None and self.top_k < len(scaled):
            smallest = scaled.topk(self.top_k).values[-1]
            scaled = scaled.masked_fill(scaled < smallest, float("-inf"))
        return int(torch.multinomial(scaled.softmax(-1), 1, generator=self.generator))


def _prompt_ids(loaded: LoadedCheckpoint, prompt: str) -> list[int]:
    context = loaded.model.config.max_position_embeddings
    # A text longer than `context` of the longest tokens cannot fit; this rejects it before tokenising.
    longest = vocabulary_of(loaded.tokenizer).longest * context
    ids = [DOCUMENT_START_ID, *encode_text(loaded.tokenizer, checked_text(prompt, longest))]
    if len(ids) >= context:
        raise PromptError(
            f"the prompt must leave room in the context of {context} tokens, got {len(ids)} tokens; "
            "shorten it, or read it as a text on the Explore page",
            "context_filled",
            context=context,
            tokens=len(ids),
        )
    return ids


def checked_text(text: str, longest: int) -> str:
    """Return the text if a model can run it.

    Raises:
        PromptError: it is empty or longer than `longest` characters.
    """
    if not text.strip():
        raise PromptError("the text must not be empty; type at least one word", "text_empty")
    if len(text) > longest:
        raise PromptError(
            f"the text must have at most {longest:,} characters, got {len(text):,}; shorten it",
            "text_too_long",
            most=longest,
            length=len(text),
        )
    return text
