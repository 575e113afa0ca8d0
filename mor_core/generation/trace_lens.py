"""Adds to a finished run what the model would have predicted after each recursion: the early exits of `logit_lens.py`.

The text goes through the model once more, with the depths that the run has recorded. This is work of the observer:
its FLOPs and seconds are in no total of the run.

Shapes: S positions of a window, R recursions, V vocabulary.
"""

from collections.abc import Callable
from datetime import UTC, datetime

import torch
from torch import Tensor

from mor_core.checkpoints.checkpoint import LoadedCheckpoint
from mor_core.checkpoints.token_text import Vocabulary, vocabulary_of
from mor_core.generation.logit_lens import early_exit_logits
from mor_core.generation.trace_header import package_versions
from mor_core.model.routing_rules import RoutingRule
from mor_core.traces.trace import LENS_VERSION, Alternative, TokenRecord, Trace
from mor_core.traces.windows import Window

NUM_PREDICTIONS = 3


class LensError(ValueError):
    """A run that has no early exits to show, with the reason."""


def add_lens(
    loaded: LoadedCheckpoint,
    trace: Trace,
    rule: RoutingRule,
    *,
    should_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Fill `lens` of every token that went through the model; nothing is changed unless all of it could be.

    Args:
        loaded: the model of the run.
        trace: a finished run.
        rule: the one that the run followed.
        should_stop: asked between windows.

    Raises:
        LensError: the model has no states between recursions, the run's past changed while it went on, or the text
            does not take the recorded depths again.
    """
    if trace.header.kind == "generate" and rule.sees_future:
        raise LensError(
            f"routing {rule.name} sees later tokens, so each new token changed the depths before it, and no single "
            "state is the run's; read the text instead of generating it"
        )
    vocabulary = vocabulary_of(loaded.tokenizer)
    found: list[list[list[Alternative]]] = []
    for window in _windows(trace):
        if should_stop():
            return
        found += _read_window(loaded, vocabulary, trace, rule, window)
    for token, exits in zip(trace.tokens, found, strict=False):
        token.lens = exits
    trace.header.lens = {
        "version": LENS_VERSION,
        "kind": "early exit, untrained",
        "num_predictions": NUM_PREDICTIONS,
        "device": loaded.model.device.type,
        "dtype": str(loaded.model.dtype).removeprefix("torch."),
        "versions": package_versions(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _windows(trace: Trace) -> list[Window]:
    """Return how the run was read: the windows of its header, else one of all that went through the model."""
    processed = sum(token.recursion_depth is not None for token in trace.tokens)
    windows, first_new = [], 0
    for start, end in trace.header.windows or [[0, processed]]:
        if first_new < processed:  # a reading that was stopped has fewer
            windows.append(Window(start, end, first_new))
        first_new = end
    return windows


def _read_window(
    loaded: LoadedCheckpoint,
    vocabulary: Vocabulary,
    trace: Trace,
    rule: RoutingRule,
    window: Window,
) -> list[list[list[Alternative]]]:
    """Return the early exits of the positions that are new in a window."""
    tokens = trace.tokens[window.start : window.end]
    ids = torch.tensor([[token.token_id for token in tokens]], device=loaded.model.device)
    replayed = rule if trace.header.kind == "analyse" else _as_recorded(tokens, rule, loaded)
    try:
        logits, routed = early_exit_logits(loaded.model, ids, replayed)
    except ValueError as error:
        raise LensError(str(error)) from error
    depths = routed.depth()[0].tolist()
    first = window.first_new - window.start
    for token, depth in zip(tokens[first:], depths[first:], strict=True):
        if token.recursion_depth != depth:
            raise LensError(
                f"position {token.position} took {token.recursion_depth} recursions in the run and {depth} when it "
                "was read again; the lens needs the model and the rule of the run"
            )
    log_probs = [part[0].float().log_softmax(-1).cpu() for part in logits]  # R of (S, V)
    return [
        _exits(vocabulary, [part[place] for part in log_probs[: max(1, depths[place])]])
        for place in range(first, len(tokens))
    ]


def _exits(vocabulary: Vocabulary, log_probs: list[Tensor]) -> list[list[Alternative]]:
    return [vocabulary.most_probable(row, NUM_PREDICTIONS) for row in log_probs]


def _as_recorded(
    tokens: list[TokenRecord], rule: RoutingRule, loaded: LoadedCheckpoint
) -> RoutingRule:
    """Return the rule that gives each token its recorded depth, for a call of another shape may round otherwise.

    A depth of 0 cannot be forced; then the run's own rule has to find the depths again.
    """
    depths = [token.recursion_depth for token in tokens]
    if not loaded.model.config.has_router or not all(depths):
        return rule
    return RoutingRule.forced(depths, gate=rule.gate)
