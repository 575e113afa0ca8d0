"""The routing decisions of one call, stored by token set and expanded to dense tensors on request.

Shapes: B batch, S positions in this call, b and K rows and entries of a token set, R recursions.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from mor_core.model.routers import Router
from mor_core.model.token_set import TokenSet


@dataclass
class RecursionStep:
    """The routing decisions of one recursion.

    Attributes:
        candidates: the tokens that could enter it.
        deciding_logits: (b, K), of the router that decides: the main router for top-k, else as `causal_logits`.
        causal_logits: (b, K), which the causal rule compares to its threshold: the auxiliary router's if there is one.
        chosen: (b, K), which candidates entered it.
    """

    candidates: TokenSet
    deciding_logits: Tensor
    causal_logits: Tensor
    chosen: Tensor

    def agreements(self) -> Tensor:
        """Return, for each valid candidate, whether sigmoid(z) >= 0.5 agrees with the decision; bool (n,)."""
        agrees = (self.causal_logits.detach() >= 0) == self.chosen
        return agrees.flatten() if self.candidates.valid is None else agrees[self.candidates.valid]


@dataclass
class RecursionTrace:
    """All routing decisions of one call. Dense tensors are made on request, so that training does not pay for them.

    Attributes:
        batch_size: B.
        num_recursions: R.
        router: one of the model's routers, to turn logits into scores; `None` for a model without a router.
        real: the tokens that are not padding.
        device: the device of the call.
        steps: one per recursion that had candidates; none for a model without a router.
        depth_logits: (B, S, R), of a token-choice router, which scores every depth at once; else `None`.
        auxiliary: whether the deciding logits are the auxiliary routers'.
    """

    batch_size: int
    num_recursions: int
    router: Router | None
    real: TokenSet
    device: torch.device
    steps: list[RecursionStep] = field(default_factory=list)
    depth_logits: Tensor | None = None
    auxiliary: bool = False

    def active(self) -> Tensor:
        """Return bool (B, S, R): which tokens took part in which recursion; padding never does."""
        shape = (self.batch_size, self.real.num_positions)
        layers = []
        for index in range(self.num_recursions):
            if self.router is None:
                flags = torch.ones(shape, dtype=torch.bool, device=self.device)
                layers.append(self.real.dense(flags, self.batch_size, fill=False))
            elif index < len(self.steps):
                step = self.steps[index]
                layers.append(step.candidates.dense(step.chosen, self.batch_size, fill=False))
            else:
                layers.append(torch.zeros(shape, dtype=torch.bool, device=self.device))
        return torch.stack(layers, dim=-1)

    def depth(self) -> Tensor:
        """Return recursion depths (B, S), 0 for padding and for tokens that entered no recursion."""
        return self.active().sum(dim=-1)

    def router_logits(self) -> Tensor:
        """Return the deciding logits, float32 (B, S, R), NaN where no router scored the token."""
        shape = (self.batch_size, self.real.num_positions)
        if self.depth_logits is not None:
            ones = torch.ones(shape, dtype=torch.bool, device=self.device)
            scored = self.real.dense(ones, self.batch_size, fill=False)
            return self.depth_logits.detach().masked_fill(~scored[..., None], float("nan"))
        layers = [
            step.candidates.dense(step.deciding_logits.detach(), self.batch_size, fill=float("nan"))
            for step in self.steps
        ]
        missing = self.num_recursions - len(layers)
        layers += [torch.full(shape, float("nan"), device=self.device)] * missing
        return torch.stack(layers, dim=-1)

    def router_scores(self) -> Tensor:
        """Return the logits after the activation, before alpha; (B, S, R), NaN where not computed.

        An auxiliary router's activation is the sigmoid, with which it is trained.
        """
        logits = self.router_logits()
        if self.auxiliary:
            return logits.sigmoid()
        return logits if self.router is None else self.router.scores(logits)

    def active_counts(self) -> list[list[int]]:
        """Count active tokens: one list per row with one count per recursion."""
        counts: list[list[int]] = self.active().sum(dim=1).tolist()
        return counts

    def routing_accuracy(self) -> list[float]:
        """Return, per recursion, the share of candidates for which sigmoid(z) >= 0.5 agrees with the decision.

        Empty for token-choice, which has no threshold.
        """
        if self.depth_logits is not None:
            return []
        return [step.agreements().float().mean().item() for step in self.steps]
