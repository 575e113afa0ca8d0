"""`mor data`: makes texts to train on whose properties are known by construction."""

from pathlib import Path
from typing import Annotated

import typer

from mor_core.data.puzzles import NUM_FACTS

data = typer.Typer(help="Make data to train on.", no_args_is_help=True)


@data.command()
def puzzles(
    out: Annotated[Path, typer.Option(help="Folder for the two texts and the tokenizer.")],
    hops: Annotated[
        str, typer.Option(help="Of the questions of every puzzle, with commas between.")
    ] = "1,2,3,4",
    documents: Annotated[int, typer.Option(help="Puzzles to train on.")] = 100_000,
    valid: Annotated[int, typer.Option(help="Held-out puzzles.")] = 2_000,
    facts: Annotated[int, typer.Option(help="Of every puzzle.")] = NUM_FACTS,
    seed: Annotated[int, typer.Option(help="The same seed makes the same files.")] = 0,
) -> None:
    """Make puzzles whose questions need a known number of steps."""
    from mor_core.data.puzzle_files import write_puzzles

    try:
        counts = [int(part) for part in hops.split(",")]
    except ValueError as error:
        raise typer.BadParameter(
            f"hops must be whole numbers with commas between, got {hops!r}"
        ) from error
    written = write_puzzles(
        out, hops=counts, num_documents=documents, num_valid=valid, seed=seed, num_facts=facts
    )
    typer.echo("\n".join(f"wrote {path}" for path in written))
