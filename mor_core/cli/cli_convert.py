"""Commands that read other projects' models: `mor convert` and `mor conformance`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from mor_core.cli.cli_options import Json, print_json


def convert(
    source: Annotated[
        Path, typer.Argument(help="A folder of the official code, a Llama folder, or a .gguf file.")
    ],
    destination: Annotated[Path, typer.Argument(help="The checkpoint's folder.")],
    tokenizer: Annotated[
        Path | None, typer.Option(help="A folder with a tokenizer.json; default: the source's.")
    ] = None,
    settings: Annotated[
        Path | None, typer.Option(help="Official: the run's settings; default: its conf.yaml.")
    ] = None,
    set_field: Annotated[
        list[str] | None,
        typer.Option("--set", help="Official: one setting, such as mor.expert.alpha=0.1."),
    ] = None,
    paper_defaults: Annotated[
        bool,
        typer.Option("--paper-defaults", help="Official: the paper's values for unknown settings."),
    ] = False,
    recursions: Annotated[
        int | None, typer.Option(min=1, help="Llama: fold the layers into this many recursions.")
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(help="Llama: stepwise (default), average, lower, upper or random."),
    ] = None,
    router: Annotated[
        str | None, typer.Option(help="Llama: none (default) or expert_choice, untrained.")
    ] = None,
) -> None:
    """Turn a model of the official code, or a Llama, into a checkpoint."""
    from mor_core.interop.convert_official import convert_official, is_official
    from mor_core.interop.official_settings import read_setting

    _check_places(source, destination)
    for_official = settings is not None or bool(set_field) or paper_defaults
    for_llama = recursions is not None or init is not None or router is not None
    if for_official and for_llama:
        raise typer.BadParameter(
            "--recursions, --init and --router are for a Llama; --settings, --set and --paper-defaults for a model of "
            "the official code: use options of one kind"
        )
    if for_llama or not (for_official or is_official(source)):
        has_tokenizer = _convert_llama(source, destination, tokenizer, recursions, init, router)
    else:
        has_tokenizer = convert_official(
            source,
            destination,
            settings=dict(read_setting(assignment) for assignment in set_field or []),
            settings_file=settings,
            paper_defaults=paper_defaults,
            tokenizer=tokenizer,
        )
    typer.echo(f"wrote {destination}")
    if not has_tokenizer:
        typer.echo(
            "without a tokenizer, the model reads token ids only; for text, convert again with --tokenizer FOLDER"
        )


def conformance(
    folders: Annotated[
        list[Path], typer.Argument(help="Cases of the official code, or folders of cases.")
    ],
    as_json: Json = False,
) -> None:
    """Compare our models with outputs of the official code; exit status 1 if any case differs."""
    from mor_core.interop.conformance import CaseResult, check_case, find_cases

    results: list[CaseResult] = []
    for folder in folders:
        if folder.is_file():  # such as a README that a shell pattern matched
            typer.echo(f"{folder}: not a folder, skipped", err=True)
            continue
        for case in find_cases(folder):
            results.append(check_case(case))
            if not as_json:
                typer.echo(_line(results[-1]))
    passed = bool(results) and all(result.passed for result in results)
    if as_json:
        print_json({"cases": [result.as_dict() for result in results], "passed": passed})
    else:
        typer.echo(f"{sum(result.passed for result in results)} of {len(results)} cases passed")
    if not passed:
        raise typer.Exit(1)


def _check_places(source: Path, destination: Path) -> None:
    """Refuse a missing source, and a destination that would overwrite anything but a checkpoint.

    Raises:
        ValueError: names the path, the rule and the value.
    """
    if not source.exists():
        raise ValueError(
            f"source must be a folder or a .gguf file, got {source}, which does not exist"
        )
    if source.resolve() == destination.resolve():
        raise ValueError(
            f"destination must differ from source, got {destination} for both; name a new folder"
        )
    is_used = destination.exists() and (destination.is_file() or any(destination.iterdir()))
    if is_used and not (destination / "config.json").is_file():
        raise ValueError(
            f"destination must be new, empty or an older checkpoint, got {destination}, which holds something else"
        )


def _convert_llama(
    source: Path,
    destination: Path,
    tokenizer: Path | None,
    recursions: int | None,
    init: Any,
    router: Any,
) -> bool:
    from mor_core.interop.convert import convert_llama

    for name, value, allowed in (
        ("--init", init, ("stepwise", "average", "lower", "upper", "random")),
        ("--router", router, ("none", "expert_choice")),
    ):
        if value is not None and value not in allowed:
            raise typer.BadParameter(f"{name} must be {', '.join(allowed)}, got {value!r}")
    return convert_llama(
        source,
        destination,
        recursions=recursions,
        init=init or "stepwise",
        router=router or "none",
        tokenizer=tokenizer,
    )


def _line(result: Any) -> str:
    verdict = "pass" if result.passed else "FAIL"
    if result.error is not None:
        return f"{verdict}  {result.folder}: {result.error}"
    depths, losses = result.depth_mismatches, result.max_loss_difference
    return (
        f"{verdict}  {result.folder}: logits {result.max_logit_difference:.1e}, "
        f"depths {'not compared' if depths is None else f'{depths} differ'}, "
        f"losses {'not compared' if losses is None else f'{losses:.1e}'}"
    )
