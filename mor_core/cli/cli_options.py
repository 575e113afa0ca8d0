"""The options that commands share, and the model and routing rule that they name."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from mor_core.checkpoints.checkpoint import LoadedCheckpoint
    from mor_core.model.routing_rules import RoutingRule

Checkpoint = Annotated[str, typer.Option(help="A folder in checkpoints/, a path, or default.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Routing = Annotated[str, typer.Option(help="causal, aux, top_k, fixed:D, random or forced:FILE.")]
Gate = Annotated[str, typer.Option(help="learned (the token's own) or open (alpha).")]
Threshold = Annotated[
    str,
    typer.Option(
        help="Score in (0, 1) from which a token enters a recursion; 0.5,0.3,0.7 for each recursion."
    ),
]
MaxDepth = Annotated[
    int | None, typer.Option(help="Largest depth: no token enters a deeper recursion.")
]
Recursions = Annotated[
    int | None, typer.Option(help="An experiment: more recursions than the model was trained with.")
]
Seed = Annotated[int, typer.Option(help="Seed of sampling and of random routing.")]
Compile = Annotated[
    bool,
    typer.Option(
        "--compile",
        help="Compile the modules of a decode step: takes half a minute once, then decoding on a CPU is faster.",
    ),
]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:0, ...")]
Dtype = Annotated[str, typer.Option(help="float32, bfloat16 or float16.")]


def open_checkpoint(
    name: str, device: str, dtype: str, recursions: int | None = None
) -> "LoadedCheckpoint":
    """Load the checkpoint that the options name, with `recursions` instead of the trained number if given.

    Raises:
        ValueError: the checkpoint cannot be loaded with these options; the message says what to change.
    """
    import torch

    from mor_core.checkpoints.checkpoint import load_checkpoint, resolve_checkpoint
    from mor_core.checkpoints.placement import PlacementError, placement

    try:
        place = placement(device, dtype)
    except PlacementError as error:
        raise typer.BadParameter(str(error)) from error
    folder = resolve_checkpoint(name)
    loaded = load_checkpoint(folder, device=place.device, dtype=getattr(torch, place.dtype))
    if recursions is None:
        return loaded
    from mor_core.checkpoints.variants import with_recursions

    return with_recursions(loaded, recursions)


def read_rule(
    routing: str, gate: str, threshold: str, seed: int, max_depth: int | None = None
) -> "RoutingRule":
    """Return the routing rule that the options name.

    Raises:
        ValueError: the options name no rule.
    """
    from mor_core.model.routing_rules import RoutingRule

    if gate not in ("learned", "open"):
        raise typer.BadParameter(f"gate must be learned or open, got {gate!r}")
    try:
        thresholds = [float(part) for part in threshold.split(",")]
    except ValueError as error:
        raise typer.BadParameter(
            f"threshold must be a score, or one score per recursion separated by commas, got {threshold!r}"
        ) from error
    given = thresholds[0] if len(thresholds) == 1 else thresholds
    rule = RoutingRule.parse(routing, gate=gate, threshold=given, seed=seed)  # type: ignore[arg-type]
    return rule.capped(max_depth)


def print_json(data: Any) -> None:
    """Print one JSON object."""
    typer.echo(json.dumps(data, ensure_ascii=False))


def say(line: str) -> None:
    """Print a progress line to stderr, so that it does not mix with the output."""
    typer.echo(line, err=True)
