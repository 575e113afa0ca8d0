"""What the commands have in common: their options, and how a model and a rule are made of them."""

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
    typer.Option(help="Score in (0, 1) at which a token goes on; 0.5,0.3,0.7 for each recursion."),
]
MaxDepth = Annotated[int | None, typer.Option(help="Let nobody enter a deeper recursion.")]
Recursions = Annotated[
    int | None, typer.Option(help="An experiment: more recursions than the model was trained with.")
]
Seed = Annotated[int, typer.Option(help="Of sampling, and of random routing.")]
Compile = Annotated[
    bool,
    typer.Option(
        "--compile",
        help="Compile what a single token runs through: half a minute once, then a faster decode on a CPU.",
    ),
]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:0, ...")]
Dtype = Annotated[str, typer.Option(help="float32, bfloat16 or float16.")]


def open_checkpoint(
    name: str, device: str, dtype: str, recursions: int | None = None
) -> "LoadedCheckpoint":
    """Load what an option names, with more recursions than trained if asked for.

    Raises:
        ValueError: it cannot be loaded so; the message says what to change.
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
    """Build the rule that the options name.

    Raises:
        ValueError: they name none.
    """
    from mor_core.model.routing_rules import RoutingRule

    if gate not in ("learned", "open"):
        raise typer.BadParameter(f"gate must be learned or open, got {gate!r}")
    try:
        thresholds = [float(part) for part in threshold.split(",")]
    except ValueError as error:
        raise typer.BadParameter(
            f"threshold must be a score, or one for each recursion with commas between, got {threshold!r}"
        ) from error
    given = thresholds[0] if len(thresholds) == 1 else thresholds
    rule = RoutingRule.parse(routing, gate=gate, threshold=given, seed=seed)  # type: ignore[arg-type]
    return rule.capped(max_depth)


def print_json(data: Any) -> None:
    """Print one JSON object."""
    typer.echo(json.dumps(data, ensure_ascii=False))


def say(line: str) -> None:
    """Report progress, apart from the output."""
    typer.echo(line, err=True)
