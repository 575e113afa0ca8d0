"""A run while it grows: one update a model call, and the trace that the updates make."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from mor_core.traces.trace import StepRecord, TokenRecord, Trace, TraceHeader


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


class TraceBuilder:
    """Puts a run's updates together.

    Attributes:
        trace: so far, without the newest token while its depth may still come; `None` before the first update.
    """

    def __init__(self) -> None:
        self.trace: Trace | None = None
        self._newest: TokenRecord | None = None

    def take(self, update: TraceUpdate) -> None:
        """Add what became known."""
        if self.trace is None:
            self.trace = Trace(update.header)
        self.trace.tokens += update.completed
        if update.step is not None:
            self.trace.steps.append(update.step)
        self._newest = update.newest

    def close(self) -> Trace | None:
        """End the run, however far it came: its newest token gets no depth. Return the trace, if there is one."""
        if self.trace is not None and self._newest is not None:
            self.trace.tokens.append(self._newest)
        self._newest = None
        return self.trace


def collect_trace(updates: Iterable[TraceUpdate]) -> Trace:
    """Run to the end and return the whole trace.

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
