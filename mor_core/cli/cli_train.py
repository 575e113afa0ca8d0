"""The commands that make a checkpoint: train it, write its model card and result files, record runs of it."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from mor_core.cli.cli_options import Checkpoint, Device, Json, open_checkpoint, print_json, say


def train(
    recipe: Annotated[Path, typer.Argument(help="A TOML file, such as those in recipes/.")],
    resume: Annotated[bool, typer.Option(help="Continue from the saved state.")] = False,
    from_state: Annotated[
        Path | None,
        typer.Option(help="Start from a copy of another run's state: runs/NAME/at-TOKENS."),
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder of the text files; default MOR_DATA.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="The checkpoint's folder.")] = None,
    set_field: Annotated[
        list[str] | None, typer.Option("--set", help="Replace a field: budget.tokens=100000")
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print steps, tokens and FLOPs without reading any data."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Train a checkpoint from a recipe."""
    overrides: dict[str, Any] = {}
    for assignment in set_field or []:
        name, separator, value = assignment.partition("=")
        if not separator:
            raise typer.BadParameter(f"--set needs section.field=value, got {assignment!r}")
        try:
            overrides[name] = json.loads(value)
        except ValueError:
            overrides[name] = value
    if dry_run:
        from mor_core.training.dry_run import dry_run as dry_run_plan
        from mor_core.training.dry_run import plan_lines
        from mor_core.training.recipe import load_recipe

        plan = dry_run_plan(load_recipe(recipe, overrides))
        if as_json:
            print_json(plan)
        else:
            typer.echo("\n".join(plan_lines(plan)))
        return
    from mor_core.training.training import train as train_recipe

    folder = train_recipe(
        recipe,
        resume=resume,
        branch_from=from_state,
        data_dir=data_dir,
        output=output,
        overrides=overrides,
    )
    typer.echo(
        f"wrote {folder}; add evaluation, samples and card with: mor report --checkpoint {folder}"
    )


def report(
    text: Annotated[Path, typer.Option(help="The held-out text to evaluate on.")],
    training_text: Annotated[
        Path, typer.Option(help="The training text, to find verbatim overlaps with samples.")
    ],
    checkpoint: Checkpoint = "default",
    device: Device = "cpu",
) -> None:
    """Write a finished checkpoint's evaluation, samples, recorded runs, credits and model card."""
    from mor_core.evaluation.checkpoint_evaluation import write_evaluation
    from mor_core.generation.record_gallery import record_gallery
    from mor_core.reports import write_report
    from mor_core.reports.card import model_card

    loaded = open_checkpoint(checkpoint, device, "float32")
    write_evaluation(loaded, text, say)
    write_report.write_experiments(loaded, text, say)
    write_report.write_samples(loaded, training_text, say)
    record_gallery(loaded, say)
    write_report.copy_credits(loaded.info.path, training_text.parent)
    (loaded.info.path / "README.md").write_text(model_card(loaded.info.path), encoding="utf-8")


def record(
    checkpoint: Checkpoint = "default",
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Names of runs; default: all.")
    ] = None,
    missing: Annotated[
        bool, typer.Option("--missing", help="Keep recorded runs; add what they lack.")
    ] = False,
    device: Device = "cpu",
) -> None:
    """Record the runs of the gallery, with early exits, into the checkpoint's traces/."""
    from mor_core.generation.record_gallery import record_gallery

    record_gallery(open_checkpoint(checkpoint, device, "float32"), say, only=only, missing=missing)


def lessons(checkpoint: Checkpoint = "default", device: Device = "cpu") -> None:
    """Record the runs that the Learn page shows into the checkpoint's traces-learn/."""
    from mor_core.generation.lesson_runs import record_lessons

    record_lessons(open_checkpoint(checkpoint, device, "float32"), say)


def family() -> None:
    """Compare all evaluated checkpoints and write checkpoints/family.json."""
    from mor_core.checkpoints.checkpoint import checkpoint_root
    from mor_core.reports.checkpoint_family import write_family

    typer.echo(f"wrote {write_family(checkpoint_root())}")
