"""Updates of a growing run, one per model call, and how they are combined into a trace."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from mor_core.traces.trace import StepRecord, TokenRecord, Trace, TraceHeader


@dataclass
class TraceUpdate:
    """The new information from one model call.

    Attributes:
        header: of the run, the same object in every update; its totals grow.
        completed: tokens whose depth became known: the whole prompt after the prefill, then one token per update.
        newest: the token just chosen; the next update, if any, completes it with its depth.
        step: the model call.
        finish_reason: set in the last update.
    """

    header: TraceHeader
    completed: list[TokenRecord] = field(default_factory=list)
    newest: TokenRecord | None = None
    step: StepRecord | None = None
    finish_reason: str | None = None


class TraceBuilder:
    """Combines the updates of a run into a trace.

    Attributes:
        trace: the trace so far, without the newest token, whose depth is not known yet; `None` before the first update.
    """

    def __init__(self) -> None:
        self.trace: Trace | None = None
        self._newest: TokenRecord | None = None

    def take(self, update: TraceUpdate) -> None:
        """Add one update."""
        if self.trace is None:
            self.trace = Trace(update.header)
        self.trace.tokens += update.completed
        if update.step is not None:
            self.trace.steps.append(update.step)
        self._newest = update.newest

    def close(self) -> Trace | None:
        """End the run and return its trace, `None` without an update. The newest token is kept without a depth."""
        if self.trace is not None and self._newest is not None:
            self.trace.tokens.append(self._newest)
        self._newest = None
        return self.trace


def collect_trace(updates: Iterable[TraceUpdate]) -> Trace:
    """Consume all updates of a run and return its trace.

    Raises:
        ValueError: there was no update.
    """
    builder = TraceBuilder()
    for update in updates:
        builder.take(update)
    trace = builder.close()
    if trace is None:
        raise ValueError("a trace needs at least one update, got none")
    return trace
