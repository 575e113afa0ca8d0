"""Samples without selection: fixed prompts and seeds, each with its longest overlap with the training text."""

from collections.abc import Callable
from typing import Any

from mor_core.checkpoints.checkpoint import LoadedCheckpoint
from mor_core.generation.generation import collect_trace, generate_with_trace
from mor_core.traces.presets import PRESETS
from mor_core.traces.trace import Trace

NUM_SAMPLES = 20
TEMPERATURE = 0.7
NEW_TOKENS = 160


def make_samples(
    loaded: LoadedCheckpoint,
    training_text: str,
    *,
    on_progress: Callable[[float], None],
) -> dict[str, Any]:
    """Generate `NUM_SAMPLES` continuations of the presets, in turn, with seeds 0, 1, 2, ...

    Returns:
        The settings and the samples as plain data.
    """
    samples = []
    for seed in range(NUM_SAMPLES):
        prompt = PRESETS[seed % len(PRESETS)].prompt
        trace = collect_trace(
            generate_with_trace(
                loaded, prompt, max_new_tokens=NEW_TOKENS, temperature=TEMPERATURE, seed=seed
            )
        )
        text = written_text(trace)
        overlap = longest_overlap(text, training_text)
        samples.append(
            {
                "prompt": prompt,
                "seed": seed,
                "text": text,
                "finish_reason": trace.header.finish_reason,
                "depth_histogram": trace.depth_histogram("decode"),
                "longest_overlap": {"num_words": len(overlap.split()), "text": overlap},
            }
        )
        on_progress((seed + 1) / NUM_SAMPLES)
    return {"temperature": TEMPERATURE, "max_new_tokens": NEW_TOKENS, "samples": samples}


def written_text(trace: Trace) -> str:
    """Return the text that a run generated after its prompt; bytes that are not UTF-8 become U+FFFD."""
    decoded = [token for token in trace.tokens if token.phase == "decode" and not token.special]
    return b"".join(bytes.fromhex(token.token_bytes) for token in decoded).decode(errors="replace")


def longest_overlap(text: str, source: str) -> str:
    """Return the longest sequence of whole words of `text` that occurs verbatim in `source`."""
    words = text.split(" ")
    best, first, last = "", 0, 1
    while last <= len(words):
        run = " ".join(words[first:last])
        if run in source:
            best = max(best, run, key=lambda found: len(found.split()))
            last += 1
        else:
            first += 1
            last = max(last, first + 1)
    return best
