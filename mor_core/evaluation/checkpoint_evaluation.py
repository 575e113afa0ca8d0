"""Writes evaluation.json: a checkpoint's loss under every routing rule, threshold sweep, depths and small tasks.

The model card and the app read this file.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mor_core.checkpoints.checkpoint import LoadedCheckpoint
from mor_core.checkpoints.tokenizer import encode_texts
from mor_core.common.logistic import sigmoid
from mor_core.common.progress import Report
from mor_core.evaluation import depth_statistics as statistics
from mor_core.evaluation.bootstrap import difference_interval, ratio_interval
from mor_core.evaluation.depth_record import record_depths
from mor_core.evaluation.evaluation import Evaluation, evaluate
from mor_core.evaluation.puzzle_evaluation import evaluate_puzzles, reads_puzzles
from mor_core.evaluation.small_tasks import score_tasks
from mor_core.model.config import MoRConfig
from mor_core.model.routing_rules import RoutingRule
from mor_core.training.corpus import read_documents
from mor_core.training.data import file_sha256

SWEEP_LOGITS = (-6.0, -4.0, -3.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0)
SWEEP_EVERY = 4  # use every fourth document, since each threshold needs a pass over the text


def evaluation_rules(config: MoRConfig) -> list[RoutingRule]:
    """Return the routing rules to evaluate a model under: all that it supports, its own rule first."""
    fixed = [
        RoutingRule.fixed(depth, gate)
        for gate in ("learned", "open")
        for depth in range(1, config.num_recursions + 1)
    ]
    random = [RoutingRule.random(gate="learned"), RoutingRule.random(gate="open")]
    rules = [RoutingRule.causal(), RoutingRule.top_k(), *fixed, *random]
    return [rule for rule in rules if rule.fits(config)]


def write_evaluation(loaded: LoadedCheckpoint, text_path: Path, say: Report) -> None:
    """Evaluate a checkpoint on a text under every rule and write evaluation.json into its folder."""
    config, documents = loaded.model.config, read_documents(text_path)
    encoded = encode_texts(loaded.tokenizer, documents)
    found: dict[str, Any] = {
        "text": text_path.name,
        "text_sha256": file_sha256(text_path),
        "checkpoint_sha256": loaded.info.sha256,
        "context": config.max_position_embeddings,
        "dtype": str(loaded.model.dtype).removeprefix("torch."),
        "device": loaded.model.device.type,
        "document_num_tokens": [len(ids) for ids in encoded],
        "results": _under_every_rule(loaded, documents, say),
    }
    if _has_threshold(config):
        found["threshold_sweep"] = _sweep(loaded, documents[::SWEEP_EVERY], say)
    if config.num_recursions > 1 and config.sharing != "sequence":
        say("recording depths and early exits")
        found |= _depths(loaded, documents, found["results"])
    if reads_puzzles(loaded):
        found["puzzles"] = evaluate_puzzles(loaded, say)
    say("scoring the tasks")
    found["tasks"] = score_tasks(loaded, documents, RoutingRule.causal())
    path = loaded.info.path / "evaluation.json"
    path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _under_every_rule(
    loaded: LoadedCheckpoint, documents: Sequence[str], say: Report
) -> list[dict[str, Any]]:
    """Return the figures of every rule with intervals, and its loss above that of the model's own rule, the first."""
    results: list[dict[str, Any]] = []
    own: Evaluation | None = None
    for rule in evaluation_rules(loaded.model.config):
        say(f"evaluating: {rule.name} {rule.depth or ''} {rule.gate} gate")
        found = evaluate(loaded, documents, rule)
        results.append(found.as_dict() | found.intervals() | {"document_nll_nats": found.nll_nats})
        if own is not None:
            results[-1]["more_nats_than_own_rule"] = {
                "nll_nats_per_token": found.nll_nats_per_token - own.nll_nats_per_token,
                "interval": difference_interval(found.nll_nats, own.nll_nats, own.num_tokens),
            }
        own = own or found
    return results


def _has_threshold(config: MoRConfig) -> bool:
    return config.router.has_threshold and config.router_control == "none"


def _sweep(loaded: LoadedCheckpoint, documents: Sequence[str], say: Report) -> list[dict[str, Any]]:
    """Return loss and cost at each of `SWEEP_LOGITS`, used as the threshold of every recursion."""
    points = []
    for logit in SWEEP_LOGITS:
        say(f"sweeping the threshold: logit {logit:g}")
        found = evaluate(loaded, documents, RoutingRule.causal(sigmoid(logit)))
        points.append(
            {
                "threshold_logit": logit,
                "nll": found.nll_nats_per_token,
                "nll_interval": ratio_interval(found.nll_nats, found.num_tokens),
                "bits_per_byte": found.bits_per_byte,
                "active_flops_per_token": found.active_flops / found.num_positions,
                "mean_depth": found.mean_recursion_depth,
                "num_documents": len(documents),
                "num_tokens": sum(found.num_tokens),
            }
        )
    return points


def _depths(
    loaded: LoadedCheckpoint, documents: Sequence[str], results: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Return depth statistics under the model's own rule, and statistics of its router."""
    config = loaded.model.config
    rows = record_depths(loaded, documents, RoutingRule.causal())
    found: dict[str, Any] = {"depths": statistics.describe_depths(rows, config.num_recursions)}
    types = statistics.type_depths(rows)
    found["depth_of_token_types"] = {
        str(token): round(float(depth), 4) for token, depth in types.items()
    }
    if not config.has_router:
        return found
    chooses_once = config.router.chooses_once
    top_k = [result for result in results if result["routing"]["name"] == "top_k"]
    found["router"] = {
        "topk_threshold_agreement": top_k[0].get("threshold_agreement") if top_k else None,
        "dead_token_ratio": found["depths"]["dead_token_ratio"],
        "entropy": statistics.router_entropy(rows, over_depths=chooses_once),
        "load_violation": statistics.load_violation(rows, config.num_recursions)
        if chooses_once
        else None,
        "shares_per_depth": found["depths"]["shares_per_depth"],
    }
    return found
