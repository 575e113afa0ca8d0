"""Watches a run: the loss on the same held-out blocks under the rule of training and that of inference.

The figure to publish is that of the evaluation, whose windows overlap.
"""

from collections.abc import Sequence

import torch
from accelerate.accelerator import Accelerator
from torch import Tensor

from mor_core.model.model import MoRForCausalLM
from mor_core.model.routing_rules import RoutingRule

_RULES = (RoutingRule.top_k(), RoutingRule.causal())


def validation_losses(
    model: MoRForCausalLM, batches: Sequence[Tensor], accelerator: Accelerator
) -> dict[str, float]:
    """Return mean nats a token under each rule that the model can follow, over batches (b, S) of equal blocks."""
    was_training = model.training
    model.eval()
    count = sum(map(len, batches))
    rules = [rule for rule in _RULES if rule.fits(model.config)]
    sums = dict.fromkeys((rule.name for rule in rules), 0.0)
    # Compiled layers would be compiled anew for each length that the causal rule leaves.
    eager = torch.compiler.set_stance("force_eager")
    with torch.no_grad(), eager, accelerator.autocast():
        for batch in batches:
            tokens = batch.to(accelerator.device)
            for rule in rules:
                output = model(
                    tokens, labels=tokens, logits_to_keep=1, use_cache=False, routing=rule
                )
                sums[rule.name] += float(output.loss_terms["lm"]) * len(batch) / count
    model.train(was_training)
    return {f"nll_{name}_nats_per_token": total for name, total in sums.items()}
