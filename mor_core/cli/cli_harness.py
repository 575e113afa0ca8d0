"""Commands for lm-evaluation-harness: `mor tasks` and `mor lm-eval`."""

from pathlib import Path
from typing import Annotated

import typer

from mor_core.cli.cli_options import Checkpoint, Device, Dtype, Json, open_checkpoint, print_json


def tasks(
    folder: Annotated[Path, typer.Argument(help="The folder to write the tasks into.")],
    text: Annotated[
        Path, typer.Option(help="A held-out text, with <|endoftext|> between documents.")
    ],
) -> None:
    """Write our two small tasks as files for lm-evaluation-harness."""
    from mor_core.evaluation.lm_eval_tasks import write_tasks
    from mor_core.training.corpus import read_documents

    for name, count in write_tasks(read_documents(text), folder).items():
        typer.echo(f"wrote {folder / name}.yaml: {count:,} items")


def lm_eval(
    names: Annotated[list[str], typer.Argument(help="Tasks, such as mor_last_word or hellaswag.")],
    tasks_folder: Annotated[
        Path | None,
        typer.Option(help="A folder with tasks as YAML files, such as `mor tasks` writes."),
    ] = None,
    checkpoint: Checkpoint = "default",
    limit: Annotated[int | None, typer.Option(min=1, help="Items per task.")] = None,
    few_shot: Annotated[int | None, typer.Option(min=0, help="Solved examples first.")] = None,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    as_json: Json = False,
) -> None:
    """Run tasks of lm-evaluation-harness on a checkpoint, under its causal rule."""
    from mor_core.evaluation.lm_eval_adapter import run_tasks

    loaded = open_checkpoint(checkpoint, device, dtype)
    found = run_tasks(loaded, names, tasks_folder, limit=limit, few_shot=few_shot)
    if as_json:
        print_json({"checkpoint": loaded.info.name, "tasks": found})
        return
    for name, figures in found.items():
        for figure, value in figures.items():
            shown = f"{value:,}" if figure == "num_items" else f"{value:.5f}"
            typer.echo(f"{name}: {figure} {shown}")
