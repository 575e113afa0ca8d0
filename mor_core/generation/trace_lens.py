"""Adds the early exits of `logit_lens.py` to a finished run: the model's predictions after each recursion.

The model processes the text once more, with the depths that the run has recorded. The FLOPs and seconds of this extra
pass are in no total of the run.

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
    """A run without early exits, with the reason."""


def add_lens(
    loaded: LoadedCheckpoint,
    trace: Trace,
    rule: RoutingRule,
    *,
    should_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Set `lens` of every processed token; the trace changes only if all tokens succeed.

    Args:
        loaded: the model of the run.
        trace: a finished run.
        rule: the routing rule of the run.
        should_stop: called between windows; true stops without a change.

    Raises:
        LensError: the model has no states between recursions, later tokens changed the depths of earlier ones, or
            the recorded depths are not reproduced.
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
    """Return the windows of the run: those of its header, else one of all processed tokens."""
    processed = sum(token.recursion_depth is not None for token in trace.tokens)
    windows, first_new = [], 0
    for start, end in trace.header.windows or [[0, processed]]:
        if first_new < processed:  # a cancelled analysis has fewer
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
    """Return the early exits of a window's new positions."""
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
                "was processed again; the lens needs the model and the rule of the run"
            )
    log_probs = [part[0].float().log_softmax(-1).cpu() for part in logits]  # R of (S, V)
    return [
        _exits(vocabulary, [part[index] for part in log_probs[: max(1, depths[index])]])
        for index in range(first, len(tokens))
    ]


def _exits(vocabulary: Vocabulary, log_probs: list[Tensor]) -> list[list[Alternative]]:
    return [vocabulary.most_probable(row, NUM_PREDICTIONS) for row in log_probs]


def _as_recorded(
    tokens: list[TokenRecord], rule: RoutingRule, loaded: LoadedCheckpoint
) -> RoutingRule:
    """Return a rule that forces each token's recorded depth, since a call of another shape may round differently.

    A depth of 0 cannot be forced; then the run's own rule must reproduce the depths.
    """
    depths = [token.recursion_depth for token in tokens]
    if not loaded.model.config.has_router or not all(depths):
        return rule
    return RoutingRule.forced(depths, gate=rule.gate)
