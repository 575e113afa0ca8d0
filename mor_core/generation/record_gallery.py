"""Records the gallery runs of a checkpoint, each with its early exits, into the folder `traces`."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from mor_core.checkpoints.checkpoint import LoadedCheckpoint
from mor_core.common.progress import Report
from mor_core.generation.generation import analyse_text, collect_trace, generate_with_trace
from mor_core.generation.trace_lens import LensError, add_lens
from mor_core.model.accounting import dense_flops
from mor_core.model.routing_rules import RoutingRule
from mor_core.traces.gallery import GALLERY, GalleryRun
from mor_core.traces.trace import TRACE_SUFFIX, Trace
from mor_core.traces.trace_file import load_trace, save_trace

RECORDED_TOKENS = 120
RECORDED_TEMPERATURE = 0.7
RECORDED_SEED = 0


def record_gallery(
    loaded: LoadedCheckpoint,
    say: Report,
    *,
    only: Collection[str] | None = None,
    missing: bool = False,
) -> list[Path]:
    """Record the runs whose rule the model can follow; writes traces/.

    Args:
        loaded: model and tokenizer.
        say: called with a line of text per run.
        only: slugs of runs; `None` takes all.
        missing: keep runs already recorded with these weights, with their measured times, and add their early exits.

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
        path = loaded.info.path / "traces" / f"{number:02d}-{run.slug}{TRACE_SUFFIX}"
        trace = _extended(loaded, path, rule) if missing and path.is_file() else None
        done = "recorded" if trace is None else "kept"
        trace = trace or record_run(loaded, run, rule)
        save_trace(trace, path)
        say(f"{done} {path.name}: {len(trace.tokens)} tokens, depths {trace.depth_histogram()}")
        paths.append(path)
    return paths


def record_run(loaded: LoadedCheckpoint, run: GalleryRun, rule: RoutingRule) -> Trace:
    """Record one gallery run, with its early exits if the model has any."""
    if run.kind == "generate":
        trace = _continue(loaded, run.text, run.max_new_tokens, RECORDED_SEED, rule)
    else:
        text = _stories(loaded, run) if run.seeds else run.text
        trace = collect_trace(analyse_text(loaded, text, routing=rule))
    trace.header.title, trace.header.note = run.title, run.note
    _add_early_exits(loaded, trace, rule)
    return trace


def _extended(loaded: LoadedCheckpoint, path: Path, rule: RoutingRule) -> Trace | None:
    """Return a recorded run with early exits and each step's cost at full depth; `None` if it has other weights."""
    trace = load_trace(path)
    if trace.header.checkpoint_sha256 != loaded.info.sha256:
        return None
    if not trace.header.lens:
        _add_early_exits(loaded, trace, rule)
    if trace.header.kind == "generate":
        config = loaded.model.config
        trace.steps = [
            replace(
                step,
                dense_flops=dense_flops(config, step.num_tokens, past_tokens=step.first_position),
            )
            for step in trace.steps
        ]
    return trace


def _add_early_exits(loaded: LoadedCheckpoint, trace: Trace, rule: RoutingRule) -> None:
    try:
        add_lens(loaded, trace, rule)
    except LensError as error:
        trace.header.note = f"{trace.header.note} No early exits: {error}."


def _continue(
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


def _stories(loaded: LoadedCheckpoint, run: GalleryRun) -> str:
    """Return the texts that the model generates with the run's seeds, joined."""
    stories = []
    for seed in run.seeds:
        trace = _continue(loaded, run.text, run.max_new_tokens, seed, RoutingRule.causal())
        text = b"".join(bytes.fromhex(t.token_bytes) for t in trace.tokens if not t.special)
        stories.append(text.decode(errors="replace").strip())
    return "\n\n".join(stories)
