"""Accumulates losses, routing and FLOPs over the micro-batches of one optimiser step, for the training log.

Shapes: b sequences of a micro-batch, S tokens of a row, R recursions.
"""

from collections import Counter
from typing import Any

import torch
from accelerate.accelerator import Accelerator
from torch import Tensor

from mor_core.model.accounting import dropped_flops, executed_flops, training_flops
from mor_core.model.config import MoRConfig
from mor_core.model.model import MoROutput
from mor_core.training.data import PADDING


class StepMetrics:
    """Accumulates the metrics of one step, over micro-batches and processes."""

    def __init__(self, config: MoRConfig, accumulation: int, device: torch.device) -> None:
        self.config = config
        self.accumulation = accumulation
        self.device = device
        self._losses: dict[str, Tensor] = {}
        self._accuracy = torch.zeros(config.num_recursions, dtype=torch.float64, device=device)
        self._counts = torch.zeros(config.num_recursions, dtype=torch.float64, device=device)
        self._flops = 0
        self._executed = 0
        self._tokens = 0

    def add(self, output: MoROutput, batch: Tensor) -> None:
        """Add one micro-batch (b, S), `PADDING` after a document's end; losses are averaged over micro-batches."""
        assert output.loss is not None
        assert output.loss_terms is not None
        trace = output.recursion_trace
        assert trace is not None
        for name, term in {**output.loss_terms, "total": output.loss.detach()}.items():
            share = term.double() / self.accumulation
            self._losses[name] = self._losses[name] + share if name in self._losses else share
        for index, accuracy in enumerate(trace.routing_accuracy()):
            self._accuracy[index] += accuracy / self.accumulation
        active_counts = trace.active_counts()
        lengths = (batch != PADDING).sum(dim=1).tolist()
        self._executed += executed_flops(self.config, batch.shape[1], active_counts)
        rows_by_shape = Counter(zip(lengths, map(tuple, active_counts), strict=True))
        for (length, counts), rows in rows_by_shape.items():
            self._counts += rows * torch.tensor(counts, dtype=torch.float64, device=self.device)
            self._flops += rows * training_flops(self.config, length, counts)
        if output.expert_log is not None:
            dropped = dropped_flops(self.config, output.expert_log.num_dropped())
            self._flops -= dropped
            self._executed -= dropped
        self._tokens += sum(lengths)

    def summary(self, accelerator: Accelerator) -> dict[str, Any]:
        """Return the step's metrics over all processes: losses are means, tokens and FLOPs are sums."""
        names = list(self._losses)
        losses = accelerator.reduce(torch.stack([self._losses[name] for name in names]), "mean")
        accuracy = accelerator.reduce(self._accuracy, "mean")
        sums = torch.tensor(
            [self._flops, self._executed, self._tokens], dtype=torch.float64, device=self.device
        )
        flops, executed, tokens = accelerator.reduce(sums, "sum").tolist()
        counts = accelerator.reduce(self._counts, "sum")
        has_threshold = self.config.router.has_threshold
        deeper = torch.cat((counts[1:], counts.new_zeros(1)))
        return {
            "loss": dict(zip(names, losses.tolist(), strict=True)),
            "routing_accuracy": accuracy.tolist() if has_threshold else [],
            # depths 1 to R; tokens that entered no recursion are the rest to 1
            "depth_shares": ((counts - deeper) / tokens).tolist(),
            "step_flops": int(flops),
            "step_executed_flops": int(executed),
            "step_tokens": int(tokens),
        }
