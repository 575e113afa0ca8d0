"""The model card's sections on how well a checkpoint predicts and where its depth goes, read from evaluation.json."""

from typing import Any


def quality_sections(evaluation: dict[str, Any]) -> list[str]:
    """Return the sections that this evaluation has the figures for."""
    return [_quality(evaluation), *_router_section(evaluation), *_task_section(evaluation)]


def _quality(evaluation: dict[str, Any]) -> str:
    with_intervals = "nll_interval" in evaluation["results"][0]
    lines = [
        "## How well it does",
        "",
        f"On `{evaluation['text']}`: every document after one document start, every token scored once, windows of "
        f"{evaluation['context']} tokens that move by half. Depth counts content tokens; FLOPs are those of routing, "
        "a position, head included (multiply-add = 2)."
        + (" Behind each figure: its 95% interval, bootstrapped over documents." * with_intervals),
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
            "`top_k` sees later tokens, as in training: it is a control, not a way to generate."
        )
    return "\n".join(lines)


def _between(result: dict[str, Any], figure: str, digits: int) -> str:
    """Write a figure's interval behind it, where it was computed."""
    interval = result.get(f"{figure}_interval")
    return "" if interval is None else f" ({interval[0]:.{digits}f} to {interval[1]:.{digits}f})"


def _router_section(evaluation: dict[str, Any]) -> list[str]:
    """Return the section on where the depth goes; none for a model that has no choice."""
    if "router" not in evaluation:
        return []
    depths, router = evaluation["depths"], evaluation["router"]
    explained, prediction = depths["explained_by_token"], depths["prediction_depth"]
    lines = [
        "## Where the depth goes",
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
        f"The token's identity alone explains {_percent(explained['epsilon_squared'])} of the variance of depth "
        f"(epsilon squared over {explained['num_types']:,} types). Rank correlation of depth with the surprise of the "
        f"next token: {_number(depths['by_next_surprisal']['rank_correlation'])}. Router depth equals prediction "
        f"depth (the first recursion whose early exit says what the last one says; early exits are untrained) for "
        f"{prediction['equal_share']:.1%} of tokens, rank correlation {_number(prediction['rank_correlation'])}.",
        "",
        f"Entropy of the router in nats: {', '.join(map(_number, router['entropy']))}. Places of the window that never "
        f"reach the last recursion: {router['dead_token_ratio']:.1%}.",
    ]
    if router["topk_threshold_agreement"]:
        agreement = ", ".join(f"{share:.1%}" for share in router["topk_threshold_agreement"])
        lines[-1] += (
            f" The threshold decides as top-k does for {agreement} of the candidates of each recursion."
        )
    if router["load_violation"] is not None:
        lines[-1] += f" Largest violation of equal load: {router['load_violation']:.3f}."
    return ["\n".join(lines)]


def _task_section(evaluation: dict[str, Any]) -> list[str]:
    """Return the section on the small tasks; none where they were not scored."""
    if "tasks" not in evaluation:
        return []
    lines = [
        "## Two small tasks",
        "",
        "From the held-out documents: the last word of a passage, where it has stood in the passage before; and the "
        "true next sentence among four. Intervals: 95%, over documents.",
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
