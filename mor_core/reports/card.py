"""Writes the model card; every number in it is read from the checkpoint's other files."""

import json
import statistics
from pathlib import Path
from typing import Any

from mor_core.model.router_types import router_traits


def model_card(folder: Path) -> str:
    """Return the model card of a checkpoint folder."""
    config = _read_json(folder / "config.json")
    provenance = _read_json(folder / "provenance.json")
    evaluation = _read_json(folder / "evaluation.json")
    samples = _read_json(folder / "samples.json")
    sections = [
        _front_matter(),
        f"# {provenance['name']}\n\n{provenance['title']}.",
        _shape(config),
        _origin(provenance, _read_log(folder / "train_log.jsonl")),
        *_coefficient(config),
        *quality_sections(evaluation),
        *_experiments(folder / "experiments.json", config),
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
    batch = provenance["num_tokens"] / provenance["step"]
    rows = {
        "command": f"`{provenance['command']}`",
        "changed on the command line": json.dumps(provenance.get("overrides") or {}),
        **_branch(provenance.get("branched_from")),
        "code": ", then ".join(dict.fromkeys(provenance["code_revisions"])),
        "training text": f"{provenance['data']} (sha256 {provenance['train_sha256'][:16]}...)",
        "seed": provenance["seed"],
        "steps": f"{provenance['step']:,}",
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


def _branch(source: dict[str, Any] | None) -> dict[str, str]:
    """Return the row of a run that started from another run's state."""
    if source is None:
        return {}
    tokens = f"{source['num_tokens']:,}"
    return {
        "started from": f"the state of {source['name']} at {tokens} tokens, which the totals include"
    }


def _coefficient(config: dict[str, Any]) -> list[str]:
    """Return the note on the auxiliary loss's coefficient, which is scaled differently in the official code."""
    if not router_traits(config).has_top_k or config.get("router_supervision") != "aux_loss":
        return []
    return [
        f"The auxiliary loss has the coefficient {config['router_aux_loss_coef']}. It is averaged over candidates, "
        "summed over recursions and divided by the number of accumulation steps, like every other term. The official "
        "code does not divide it: with up to 16 accumulation steps, its 0.001 corresponds to up to 0.016 here."
    ]


def _experiments(path: Path, config: dict[str, Any]) -> list[str]:
    """Return the section on settings that the model was not trained with; empty without measurements."""
    if not path.is_file():
        return []
    found = _read_json(path)
    lines = ["## Settings it was not trained with"]
    if "deeper" in found:
        deeper = found["deeper"]
        shares = ", ".join(f"{count:,}" for count in deeper["depth_histogram"])
        has_router = router_traits(config).has_router
        how_scored = ", the last one scored by the last trained router" if has_router else ""
        lines += [
            "",
            f"With {deeper['num_recursions']} recursions{how_scored}: {deeper['nll_nats_per_token']:.4f} nats per "
            f"token, mean depth {deeper['mean_recursion_depth']:.3f} "
            f"(tokens at depth 1, 2, ...: {shares}).",
        ]
    if "int8" in found:
        lines += [
            "",
            "8-bit weights (torchao, weight-only); speed is decoding at batch size 1:",
            "",
            "| weights | MiB | NLL (nats/token) | depth unchanged | tokens/s (lowest to highest) |",
            "| --- | ---: | ---: | ---: | ---: |",
        ]
        int8 = found["int8"]
        how, share = int8["conditions"], f"{int8['unchanged_depth_share']:.2%}"
        lines += [
            _weight_row("float32", "float", int8, ""),
            _weight_row("int8", "int8", int8, share),
            "",
            f"The first {int8['num_documents']} documents, {int8['num_tokens']:,} tokens; {how['threads']} threads, "
            f"{how['new_tokens']} new tokens, {how['warm_ups']} warm-up, median of {how['repeats']} runs that "
            "alternate with those of the float model.",
        ]
    return ["\n".join(lines)]


def _weight_row(title: str, kind: str, result: dict[str, Any], share: str) -> str:
    low, high = result["spread"][kind]
    mebibytes, nll = result["weight_bytes"][kind] / 2**20, result["nll_nats_per_token"][kind]
    speed = f"{result['decode_tokens_per_s'][kind]:.0f} ({low:.0f} to {high:.0f})"
    return f"| {title} | {mebibytes:.1f} | {nll:.4f} | {share} | {speed} |"


def _sample_section(samples: dict[str, Any]) -> str:
    longest = max(sample["longest_overlap"]["num_words"] for sample in samples["samples"])
    lines = [
        "## Samples",
        "",
        f"{len(samples['samples'])} samples, not selected: temperature {samples['temperature']}, seeds in order; "
        "all are in `samples.json`. The longest sequence of words that a sample shares with the training text has "
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
            "A model of this size writes grammatical sentences but loses the plot. It knows old children's stories in "
            "English and nothing else. Most of them are from 1860 to 1930; their words and views of peoples, women and "
            "animals are of that time and can hurt today.",
            "",
            "Router depth shows where this model spends computation. It does not prove that a token is difficult.",
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


def quality_sections(evaluation: dict[str, Any]) -> list[str]:
    """Return the sections for which the evaluation has figures."""
    return [_quality(evaluation), *_router_section(evaluation), *_task_section(evaluation)]


def _quality(evaluation: dict[str, Any]) -> str:
    with_intervals = "nll_interval" in evaluation["results"][0]
    lines = [
        "## Evaluation",
        "",
        f"On `{evaluation['text']}`: every document follows one document start, every token is scored once, windows of "
        f"{evaluation['context']} tokens move by half. Mean depth is over content tokens; active FLOPs are per "
        "position and include the head (multiply-add = 2)."
        + (" In brackets: 95% intervals, bootstrapped over documents." * with_intervals),
        "",
        "| routing | gate | NLL (nats/token) | bits per byte | perplexity | mean depth | active MFLOPs |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for result in evaluation["results"]:
        routing = result["routing"]
        name = routing["name"] + (f" {routing['depth']}" if "depth" in routing else "")
        lines.append(
            f"| {name} | {routing['gate']} | {result['nll_nats_per_token']:.4f}{_between(result, 'nll', 4)} | "
            f"{result['bits_per_byte']:.4f}{_between(result, 'bits_per_byte', 4)} | "
            f"{result['perplexity']:.2f}{_between(result, 'perplexity', 2)} | {result['mean_recursion_depth']:.3f} | "
            f"{result['active_flops_per_token'] / 1e6:.2f} |"
        )
    causal = evaluation["results"][0]
    if causal["routing"]["name"] == "none":
        return "\n".join(lines)
    total = sum(causal["depth_histogram"])
    shares = ", ".join(
        f"{count / total:.1%} at depth {depth}"
        for depth, count in enumerate(causal["depth_histogram"], start=1)
    )
    lines += ["", f"Under the causal rule: {shares}."]
    if any(result["routing"]["name"] == "top_k" for result in evaluation["results"]):
        lines.append(
            "`top_k` sees later tokens, as in training: it is a control and cannot generate text."
        )
    return "\n".join(lines)


def _between(result: dict[str, Any], figure: str, digits: int) -> str:
    """Return a figure's interval as text; empty if it was not computed."""
    interval = result.get(f"{figure}_interval")
    return "" if interval is None else f" ({interval[0]:.{digits}f} to {interval[1]:.{digits}f})"


def _router_section(evaluation: dict[str, Any]) -> list[str]:
    """Return the section on token depths; empty for a model without a router."""
    if "router" not in evaluation:
        return []
    depths, router = evaluation["depths"], evaluation["router"]
    explained, prediction = depths["explained_by_token"], depths["prediction_depth"]
    lines = [
        "## Depth of tokens",
        "",
        f"Over {depths['num_tokens']:,} held-out tokens under the model's own rule:",
        "",
        "| tokens | count | mean depth | shares at depth 1, 2, ... |",
        "| --- | ---: | ---: | --- |",
    ]
    for name, group in depths["by_class"].items():
        shares = ", ".join(f"{share:.0%}" for share in group["shares"])
        lines.append(f"| {name} | {group['num_tokens']:,} | {group['mean_depth']:.3f} | {shares} |")
    lines += [
        "",
        f"The token type alone explains {_percent(explained['epsilon_squared'])} of the variance of depth "
        f"(epsilon squared over {explained['num_types']:,} types). Rank correlation of depth with the surprisal of the "
        f"next token: {_number(depths['by_next_surprisal']['rank_correlation'])}. Router depth equals prediction "
        f"depth (the first recursion whose early exit predicts the final token; early exits are untrained) for "
        f"{prediction['equal_share']:.1%} of tokens, rank correlation {_number(prediction['rank_correlation'])}.",
        "",
        f"Entropy of the router in nats: {', '.join(map(_number, router['entropy']))}. Window positions at which no "
        f"token reaches the last recursion: {router['dead_token_ratio']:.1%}.",
    ]
    if router["topk_threshold_agreement"]:
        agreement = ", ".join(f"{share:.1%}" for share in router["topk_threshold_agreement"])
        lines[-1] += (
            f" The threshold and top-k make the same decision for {agreement} of the candidates of each recursion."
        )
    if router["load_violation"] is not None:
        lines[-1] += f" Largest violation of equal load: {router['load_violation']:.3f}."
    return ["\n".join(lines)]


def _task_section(evaluation: dict[str, Any]) -> list[str]:
    """Return the section on the small tasks; empty if they were not scored."""
    if "tasks" not in evaluation:
        return []
    lines = [
        "## Two small tasks",
        "",
        "Built from the held-out documents: predict the last word of a passage, which occurs earlier in it, and choose "
        "the true next sentence among four. Intervals: 95%, over documents.",
        "",
        "| task | items | accuracy | chance |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, task in evaluation["tasks"].items():
        if task["num_items"]:
            low, high = task["interval"]
            accuracy = f"{task['accuracy']:.1%} ({low:.1%} to {high:.1%})"
            title, chance = name.replace("_", " "), _percent(task["chance"])
            lines.append(f"| {title} | {task['num_items']:,} | {accuracy} | {chance} |")
    return ["\n".join(lines)]


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
