"""The timing prompt: its continuation is timed wherever the decode speed of checkpoints is compared."""

from mor_core.checkpoints.checkpoint import LoadedCheckpoint
from mor_core.generation.generation import collect_trace, generate_with_trace
from mor_core.traces.trace import Trace

PROMPT, NEW_TOKENS = "Once upon a time", 64


def continue_timing_prompt(loaded: LoadedCheckpoint) -> Trace:
    """Continue the prompt greedily by `NEW_TOKENS`, or fewer if the model ends its text; deterministic."""
    updates = generate_with_trace(loaded, PROMPT, max_new_tokens=NEW_TOKENS, temperature=0.0)
    return collect_trace(updates)


def num_written(trace: Trace) -> int:
    """Count the tokens that a run has generated."""
    return sum(token.phase == "decode" for token in trace.tokens)
