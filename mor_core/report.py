"""Gives a finished checkpoint its papers: evaluation, samples, recorded runs, credits and the model card.

Every number in the card is read from the files beside it.
"""

import json
import math
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mor_core.checkpoint import LoadedCheckpoint
from mor_core.config import MoRConfig
from mor_core.corpus import read_documents
from mor_core.data import file_sha256
from mor_core.evaluation import evaluate
from mor_core.generation import collect_trace, generate_with_trace
from mor_core.presets import PRESETS
from mor_core.rules import RoutingRule
from mor_core.samples import make_samples
from mor_core.trace import TRACE_SUFFIX
from mor_core.tracefile import save_trace

RECORDED_TOKENS = 120
RECORDED_TEMPERATURE = 0.7
RECORDED_SEED = 0
CREDIT_FILES = ("ATTRIBUTION.tsv", "SOURCES.tsv")
Report = Callable[[str], None]


def evaluation_rules(config: MoRConfig) -> list[RoutingRule]:
    """Return the rules that every published evaluation of a model holds: those that it can follow."""
    fixed = [
        RoutingRule.fixed(depth, gate)
        for gate in ("learned", "open")
        for depth in range(1, config.num_recursions + 1)
    ]
    random = [RoutingRule.random(gate="learned"), RoutingRule.random(gate="open")]
    rules = [RoutingRule.causal(), RoutingRule.top_k(), *fixed, *random]
    return [rule for rule in rules if rule.fits(config)]


def write_evaluation(loaded: LoadedCheckpoint, text_path: Path, say: Report) -> None:
    """Evaluate on a text under every rule; writes evaluation.json."""
    config = loaded.model.config
    documents = read_documents(text_path)
    results = []
    for rule in evaluation_rules(config):
        say(f"evaluating: {rule.name} {rule.depth or ''} {rule.gate} gate")
        evaluation = evaluate(loaded, documents, rule)
        results.append(evaluation.as_dict() | {"document_nll_nats": evaluation.nll_nats})
    _write_json(
        loaded.info.path / "evaluation.json",
        {
            "text": text_path.name,
            "text_sha256": file_sha256(text_path),
            "checkpoint_sha256": loaded.info.sha256,
            "context": config.max_position_embeddings,
            "dtype": str(loaded.model.dtype).removeprefix("torch."),
            "device": loaded.model.device.type,
            "results": results,
        },
    )


def write_samples(loaded: LoadedCheckpoint, training_text: Path, say: Report) -> None:
    """Generate unselected samples and compare them with the training text; writes samples.json."""
    text = training_text.read_text(encoding="utf-8")
    samples = make_samples(loaded, text, on_progress=lambda share: say(f"samples: {share:.0%}"))
    _write_json(loaded.info.path / "samples.json", samples)


def record_presets(loaded: LoadedCheckpoint, say: Report) -> list[Path]:
    """Record one run of every preset; writes traces/."""
    paths = []
    for number, preset in enumerate(PRESETS, start=1):
        trace = collect_trace(
            generate_with_trace(
                loaded,
                preset.prompt,
                max_new_tokens=RECORDED_TOKENS,
                temperature=RECORDED_TEMPERATURE,
                seed=RECORDED_SEED,
            )
        )
        trace.header.title, trace.header.note = preset.title, preset.note
        slug = preset.title.lower().replace(" ", "-")
        path = loaded.info.path / "traces" / f"{number:02d}-{slug}{TRACE_SUFFIX}"
        save_trace(trace, path)
        say(f"recorded {path.name}: decoded depths {trace.depth_histogram('decode')}")
        paths.append(path)
    return paths


def copy_credits(folder: Path, data_folder: Path) -> None:
    """Carry the corpus's credits into the checkpoint, as CC BY asks."""
    for name in CREDIT_FILES:
        source = data_folder / name
        if source.is_file():
            (folder / name).write_bytes(source.read_bytes())


def model_card(folder: Path) -> str:
    """Return the model card, read from the folder's own files."""
    config = _read_json(folder / "config.json")
    provenance = _read_json(folder / "provenance.json")
    evaluation = _read_json(folder / "evaluation.json")
    samples = _read_json(folder / "samples.json")
    sections = [
        _front_matter(),
        f"# {provenance['name']}\n\n{provenance['title']}.",
        _shape(config),
        _origin(provenance, _read_log(folder / "train_log.jsonl")),
        _quality(evaluation),
        _sample_section(samples),
        _limits(),
    ]
    return "\n\n".join(sections) + "\n"


def _front_matter() -> str:
    return "---\nlicense: mit\nlanguage: en\npipeline_tag: text-generation\nlibrary_name: transformers\n---"


def _shape(config: dict[str, Any]) -> str:
    return "\n".join(
        [
            "## Shape",
            "",
            f"{config['num_prelude_layers']} + {config['num_layers_per_recursion']} x {config['num_recursions']} + "
            f"{config['num_coda_layers']} layers, hidden {config['hidden_size']}, MLP {config['intermediate_size']}, "
            f"{config['num_attention_heads']} heads, {config['num_key_value_heads']} key/value heads, vocabulary "
            f"{config['vocab_size']}, context {config['max_position_embeddings']}. Router: {config['router_type']}. "
            f"Cache: {config['kv_strategy']}.",
            "",
            "Weights are stored in bf16 and evaluated as stored.",
        ]
    )


def _origin(provenance: dict[str, Any], log: list[dict[str, Any]]) -> str:
    speed = statistics.median(line["tokens_per_s"] for line in log)
    flops = statistics.median(line["tokens_per_s"] * line["step_flops"] for line in log)
    batch = provenance["num_tokens"] / provenance["num_steps"]
    rows = {
        "command": f"`{provenance['command']}`",
        "changed on the command line": json.dumps(provenance.get("overrides") or {}),
        "code": provenance["code_revision"],
        "training text": f"{provenance['data']} (sha256 {provenance['train_sha256'][:16]}...)",
        "seed": provenance["seed"],
        "steps": f"{provenance['num_steps']:,}",
        "tokens": f"{provenance['num_tokens']:,}",
        "training FLOPs": f"{provenance['training_flops']:.4g}",
        "wall time": f"{provenance['elapsed_s'] / 60:.1f} minutes",
        "speed": f"median {speed:,.0f} tokens/s, {flops / batch / 1e9:.0f} GFLOP/s, other work beside it included",
        "peak memory": f"{provenance['peak_memory_bytes'] / 2**20:.0f} MiB",
        "precision": provenance["precision"],
        "hardware": json.dumps(provenance["hardware"]),
        "versions": json.dumps(provenance["versions"]),
    }
    lines = ["## Where it comes from", "", "| | |", "| --- | --- |"]
    lines += [f"| {name} | {value} |" for name, value in rows.items()]
    lines += ["", "The whole log is in `train_log.jsonl`, the recipe in `recipe.toml`."]
    return "\n".join(lines)


def _quality(evaluation: dict[str, Any]) -> str:
    lines = [
        "## How well it does",
        "",
        f"On `{evaluation['text']}`: every document after one document start, every token scored once, windows of "
        f"{evaluation['context']} tokens that move by half. Depth counts content tokens; FLOPs are those of routing, "
        "a position, head included (multiply-add = 2).",
        "",
        "| routing | gate | NLL (nats/token) | bits per byte | perplexity | mean depth | active MFLOPs |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for result in evaluation["results"]:
        routing = result["routing"]
        name = routing["name"] + (f" {routing['depth']}" if "depth" in routing else "")
        lines.append(
            f"| {name} | {routing['gate']} | {result['nll_nats_per_token']:.4f} | {result['bits_per_byte']:.4f} | "
            f"{math.exp(result['nll_nats_per_token']):.2f} | {result['mean_recursion_depth']:.3f} | "
            f"{result['active_flops_per_token'] / 1e6:.2f} |"
        )
    causal = evaluation["results"][0]
    total = sum(causal["depth_histogram"])
    shares = ", ".join(
        f"{count / total:.1%} at depth {depth}"
        for depth, count in enumerate(causal["depth_histogram"], start=1)
    )
    lines += ["", f"Under the causal rule: {shares}."]
    lines.append(
        "`top_k` sees later tokens, as in training: it is a control, not a way to generate."
    )
    return "\n".join(lines)


def _sample_section(samples: dict[str, Any]) -> str:
    longest = max(sample["longest_overlap"]["num_words"] for sample in samples["samples"])
    lines = [
        "## Samples",
        "",
        f"{len(samples['samples'])} samples, not selected: temperature {samples['temperature']}, seeds in order; "
        "all are in `samples.json`. The longest run of words that any of them shares with the training text has "
        f"{longest} words.",
    ]
    for sample in samples["samples"][:3]:
        text = sample["text"].replace("\n", "\n> ")
        lines += [
            "",
            f"Seed {sample['seed']}, longest overlap {sample['longest_overlap']['num_words']} words:",
            "",
            f"> **{sample['prompt']}**{text}".replace("\n\n", "\n>\n"),
        ]
    return "\n".join(lines)


def _limits() -> str:
    return "\n".join(
        [
            "## Limits, licences and credits",
            "",
            "A model of this size writes grammatical sentences and loses the plot. It knows old children's stories in "
            "English and nothing else. Most of them are from 1860 to 1930; their words and views of peoples, women and "
            "animals are of that time and can hurt today.",
            "",
            "Router depth is where this training run spent computation. It is no proof that a token is difficult.",
            "",
            "Weights: MIT. The training text is in the public domain in the USA (Project Gutenberg, Standard Ebooks), "
            "CC BY (African Storybook, Pratham Books, Book Dash) or MIT (TinyFabulist). Titles and authors of the "
            "CC BY stories are in `ATTRIBUTION.tsv`, all sources in `SOURCES.tsv`. The stories were cut to their "
            "prose and their quotation marks, dashes and spaces made alike.",
        ]
    )


def _read_log(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _read_json(path: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return data


def _write_json(path: Path, data: dict[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
