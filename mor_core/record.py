"""Records the gallery's runs of a checkpoint, each with its early exits, into the folder `traces`."""

from collections.abc import Collection
from pathlib import Path

from mor_core.assessment import Report
from mor_core.checkpoint import LoadedCheckpoint
from mor_core.gallery import (
    GALLERY,
    LONG_RUN,
    LONG_RUN_SEEDS,
    LONG_RUN_TOKENS,
    GalleryRun,
)
from mor_core.generation import analyse_text, collect_trace, generate_with_trace
from mor_core.rules import RoutingRule
from mor_core.trace import TRACE_SUFFIX, Trace
from mor_core.trace_lens import LensError, add_lens
from mor_core.tracefile import save_trace

RECORDED_TOKENS = 120
RECORDED_TEMPERATURE = 0.7
RECORDED_SEED = 0


def record_gallery(
    loaded: LoadedCheckpoint, say: Report, *, only: Collection[str] | None = None
) -> list[Path]:
    """Record the runs whose rule the model can follow; writes traces/.

    Args:
        loaded: model and tokenizer.
        say: told what was recorded.
        only: slugs of runs; `None` takes all.

    Raises:
        ValueError: a slug names no run.
    """
    known = [run.slug for run in GALLERY]
    unknown = sorted(set(only or ()) - set(known))
    if unknown:
        raise ValueError(f"no run is called {', '.join(unknown)}; there are {', '.join(known)}")
    paths = []
    for number, run in enumerate(GALLERY, start=1):
        if only is not None and run.slug not in only:
            continue
        rule = RoutingRule.parse(run.routing, seed=RECORDED_SEED)
        if not rule.fits(loaded.model.config):
            say(f"left out {run.slug}: this model cannot follow routing {run.routing}")
            continue
        trace = record_run(loaded, run, rule)
        path = loaded.info.path / "traces" / f"{number:02d}-{run.slug}{TRACE_SUFFIX}"
        save_trace(trace, path)
        say(f"recorded {path.name}: {len(trace.tokens)} tokens, depths {trace.depth_histogram()}")
        paths.append(path)
    return paths


def record_run(loaded: LoadedCheckpoint, run: GalleryRun, rule: RoutingRule) -> Trace:
    """Make one run of the gallery and look at its early exits, where the model has any."""
    if run.kind == "generate":
        trace = _continued(loaded, run.text, run.max_new_tokens, RECORDED_SEED, rule)
    else:
        text = _long_text(loaded, run.text) if run.slug == LONG_RUN else run.text
        trace = collect_trace(analyse_text(loaded, text, routing=rule))
    trace.header.title, trace.header.note = run.title, run.note
    try:
        add_lens(loaded, trace, rule)
    except LensError as error:
        trace.header.note = f"{run.note} No early exits: {error}."
    return trace


def _continued(
    loaded: LoadedCheckpoint, prompt: str, max_new_tokens: int | None, seed: int, rule: RoutingRule
) -> Trace:
    return collect_trace(
        generate_with_trace(
            loaded,
            prompt,
            max_new_tokens=max_new_tokens or RECORDED_TOKENS,
            temperature=RECORDED_TEMPERATURE,
            seed=seed,
            routing=rule,
        )
    )


def _long_text(loaded: LoadedCheckpoint, prompt: str) -> str:
    """Return what the model itself writes under a few seeds, as one text."""
    stories = []
    for seed in LONG_RUN_SEEDS:
        trace = _continued(loaded, prompt, LONG_RUN_TOKENS, seed, RoutingRule.causal())
        told = b"".join(bytes.fromhex(t.token_bytes) for t in trace.tokens if not t.special)
        stories.append(told.decode(errors="replace").strip())
    return "\n\n".join(stories)
