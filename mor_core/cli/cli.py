"""The `mor` command: reads arguments, calls the library and prints the results.

Commands that need torch import it themselves, so that help and usage errors appear at once.
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mor_core.checkpoints.placement import placement
from mor_core.cli import cli_bench, cli_convert, cli_data, cli_harness, cli_train
from mor_core.cli.cli_options import (
    Checkpoint,
    Compile,
    Device,
    Dtype,
    Gate,
    Json,
    MaxDepth,
    Recursions,
    Routing,
    Seed,
    Threshold,
    open_checkpoint,
    print_json,
    read_rule,
    say,
)
from mor_core.common.log_levels import silence_import_warnings

if TYPE_CHECKING:
    from mor_core.checkpoints.checkpoint import LoadedCheckpoint

app = typer.Typer(
    help="See a language model decide how much computation each token deserves.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command; errors that a user can cause are printed as one line without a traceback."""
    silence_import_warnings()
    try:
        app()
    except (ValueError, OSError) as error:
        message = getattr(error.__cause__, "args", None) and str(error.__cause__)
        sys.stderr.write(f"mor: {error if isinstance(error, ValueError) else message or error}\n")
        sys.exit(1)


@app.command()
def checkpoints(as_json: Json = False) -> None:
    """List the checkpoints, the default first."""
    from mor_core.checkpoints.checkpoint import (
        DEFAULT_NAME,
        CheckpointError,
        list_checkpoints,
        resolve_checkpoint,
    )

    found = list_checkpoints()
    try:
        default = resolve_checkpoint(DEFAULT_NAME).name
    except CheckpointError:
        default = ""
    if as_json:
        print_json(
            [
                {
                    "name": info.name,
                    "sha256": info.sha256,
                    "num_bytes": info.num_bytes,
                    "config": info.config,
                    "provenance": info.provenance,
                    "default": info.name == default,
                }
                for info in found
            ]
        )
        return
    if not found:
        typer.echo("no checkpoints; train one with: mor train recipes/stories-mor3-expert.toml")
    for info in found:
        tokens = info.provenance.get("num_tokens")
        trained = f", {tokens:,} tokens" if tokens else ""
        mark = " (default)" if info.name == default else ""
        typer.echo(
            f"{info.name}{mark}: {info.num_bytes / 2**20:.1f} MiB, sha256 {info.sha256[:8]}{trained}"
        )


@app.command()
def generate(  # noqa: PLR0913 - one argument per option
    prompt: Annotated[str, typer.Option(help="The text to continue.")],
    checkpoint: Checkpoint = "default",
    max_new_tokens: Annotated[int, typer.Option(min=1)] = 100,
    seed: Seed = 0,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 means greedy decoding.")] = 0.7,
    top_k: Annotated[int | None, typer.Option(min=1)] = None,
    threshold: Threshold = "0.5",
    routing: Routing = "causal",
    gate: Gate = "learned",
    max_depth: MaxDepth = None,
    recursions: Recursions = None,
    trace: Annotated[Path | None, typer.Option(help="Save the trace to this file.")] = None,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    compiled: Compile = False,
    as_json: Json = False,
) -> None:
    """Continue a prompt and show each token's recursion depth."""
    from mor_core.cli.terminal import TokenPrinter
    from mor_core.generation.generation import collect_trace, generate_with_trace
    from mor_core.serving.aot_compile import CompiledModules
    from mor_core.traces.trace_file import save_trace, trace_to_dict
    from mor_core.traces.trace_updates import TraceUpdate

    rule = read_rule(routing, gate, threshold, seed, max_depth)
    loaded = open_checkpoint(checkpoint, device, dtype, recursions)
    updates = generate_with_trace(
        loaded,
        prompt,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_k=top_k,
        seed=seed,
        routing=rule,
        compiled=CompiledModules(loaded.model) if compiled else None,
    )
    printer = None if as_json else TokenPrinter(loaded.model.config.num_recursions)

    def shown(update: TraceUpdate) -> TraceUpdate:
        if printer:
            printer.show(update.completed)
            if update.finish_reason and update.newest:
                printer.show([update.newest])
        return update

    recorded = collect_trace(shown(update) for update in updates)
    if printer:
        printer.summarise(recorded)
    if trace:
        save_trace(recorded, trace)
    if as_json:
        decoded = (
            token for token in recorded.tokens if token.phase == "decode" and not token.special
        )
        text = b"".join(bytes.fromhex(token.token_bytes) for token in decoded)
        print_json({"text": text.decode(errors="replace"), **trace_to_dict(recorded)})


@app.command("eval")
def evaluate(
    text: Annotated[
        Path | None, typer.Option(help="UTF-8, with <|endoftext|> between documents.")
    ] = None,
    puzzles: Annotated[
        bool,
        typer.Option("--puzzles", help="Answers and depths on held-out puzzles, under every rule."),
    ] = False,
    checkpoint: Checkpoint = "default",
    routing: Routing = "causal",
    gate: Gate = "learned",
    max_depth: MaxDepth = None,
    recursions: Recursions = None,
    threshold: Threshold = "0.5",
    seed: Seed = 0,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    as_json: Json = False,
) -> None:
    """Measure a checkpoint's loss on a text and the FLOPs spent, or its answers to puzzles."""
    if puzzles == (text is not None):
        raise typer.BadParameter("give exactly one of --text FILE and --puzzles")
    if text is None:
        _evaluate_puzzles(open_checkpoint(checkpoint, device, dtype, recursions), as_json)
        return
    from mor_core.evaluation.evaluation import evaluate as score
    from mor_core.training.corpus import read_documents

    rule = read_rule(routing, gate, threshold, seed, max_depth)
    documents = read_documents(text)
    loaded = open_checkpoint(checkpoint, device, dtype, recursions)
    found = score(loaded, documents, rule)
    figures: dict[str, Any] = {"checkpoint": loaded.info.name, "text": text.name}
    figures |= found.as_dict()
    if len(documents) > 1:
        figures |= found.intervals()
    if as_json:
        print_json(figures)
    else:
        for name, value in figures.items():
            typer.echo(f"{name}: {value}")


def _evaluate_puzzles(loaded: "LoadedCheckpoint", as_json: bool) -> None:
    from mor_core.evaluation.puzzle_evaluation import evaluate_puzzles, puzzle_lines

    found = evaluate_puzzles(loaded, say)
    if as_json:
        print_json({"checkpoint": loaded.info.name, **found})
    else:
        typer.echo("\n".join(puzzle_lines(found)))


@app.command()
def quantise(
    text: Annotated[Path, typer.Option(help="UTF-8, with <|endoftext|> between documents.")],
    checkpoint: Checkpoint = "default",
    as_json: Json = False,
) -> None:
    """Measure the effect of 8-bit weights on size, speed, loss and token depths."""
    from mor_core.evaluation.quantise import compare
    from mor_core.evaluation.quantise import quantise as quantised
    from mor_core.training.corpus import read_documents

    loaded = open_checkpoint(checkpoint, "cpu", "float32")
    figures = compare(loaded, quantised(loaded), read_documents(text))
    if as_json:
        print_json({"checkpoint": loaded.info.name, **figures})
        return
    for name in ("weight_bytes", "nll_nats_per_token", "decode_tokens_per_s"):
        values = figures[name]
        typer.echo(f"{name}: float {values['float']:,.6g}, int8 {values['int8']:,.6g}")
    share = figures["unchanged_depth_share"]
    typer.echo(f"depth unchanged: {share:.2%} of {figures['num_tokens']:,} tokens")


@app.command("app")
def run_app(
    host: Annotated[
        str, typer.Option(help="127.0.0.1 accepts connections from this machine only.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8501,
    device: Annotated[
        str, typer.Option(help="auto (a GPU if there is one), cpu, cuda:N.")
    ] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 (bf16), float16.")] = "auto",
    compiled: Compile = False,
) -> None:
    """Start the app in the browser."""
    root = Path(__file__).resolve().parents[2]
    script = root / "app" / "asgi.py"
    if not script.is_file():
        raise ValueError(
            f"the app must lie beside the library, but {script.parent.name}/ is missing; run mor from a clone"
        )
    placement(
        "cpu" if device == "auto" else device, dtype
    )  # refuse a bad device now, not at the first run
    command = [sys.executable, "-m", "streamlit", "run", str(script)]
    command += ["--server.address", host, "--server.port", str(port)]
    os.chdir(root)
    os.environ.update(MOR_DEVICE=device, MOR_DTYPE=dtype, MOR_COMPILE=str(int(compiled)))
    typer.echo(f"MoR Explorer on http://{host}:{port}  (Ctrl-C stops it)")
    os.execv(sys.executable, command)


app.add_typer(cli_data.data, name="data")
app.command()(cli_bench.bench)
app.command()(cli_train.train)
app.command()(cli_train.report)
app.command()(cli_train.record)
app.command()(cli_train.lessons)
app.command()(cli_train.family)
app.command()(cli_harness.tasks)
app.command("lm-eval")(cli_harness.lm_eval)
app.command()(cli_convert.convert)
app.command()(cli_convert.conformance)


if __name__ == "__main__":
    main()
