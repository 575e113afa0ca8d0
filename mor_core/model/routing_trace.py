"""What the routers decided in one call, kept as they decided it and spread out only when asked.

Shapes: B batch, S positions in this call, b and K rows and places of a token set, R recursions.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from mor_core.model.routers import Router
from mor_core.model.token_set import TokenSet


@dataclass
class RecursionStep:
    """What one recursion decided.

    Attributes:
        candidates: the tokens that could go on.
        decisive: logits (b, K) of the network that decides under the rule: the main router's for top-k, else `judged`.
        judged: logits (b, K) that the causal rule holds against its threshold: the auxiliary router's if there is one.
        chosen: (b, K) which of them went on.
    """

    candidates: TokenSet
    decisive: Tensor
    judged: Tensor
    chosen: Tensor

    def agreements(self) -> Tensor:
        """Return, for each real candidate, whether sigmoid(z) >= 0.5 agrees with the choice made; bool (n,)."""
        agrees = (self.judged.detach() >= 0) == self.chosen
        return agrees.flatten() if self.candidates.valid is None else agrees[self.candidates.valid]


@dataclass
class RecursionTrace:
    """Every decision of one call. Dense views are made when asked for, so that training does not pay for them.

    Attributes:
        batch_size: B.
        num_recursions: R.
        router: one of the model's, to turn logits into scores; `None` for a model without.
        real: the tokens that are not padding.
        device: of the call.
        steps: one a recursion that somebody could enter; none for a model without a router.
        depth_logits: (B, S, R) of a token-choice router, which judges every depth at once; else `None`.
        auxiliary: whether the decisive logits are the auxiliary routers'.
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
        """Return bool (B, S, R): who took part in which recursion; padding never did."""
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
        """Return the decisive logits, float32 (B, S, R), NaN where no router looked at the token."""
        shape = (self.batch_size, self.real.num_positions)
        if self.depth_logits is not None:
            everyone = torch.ones(shape, dtype=torch.bool, device=self.device)
            seen = self.real.dense(everyone, self.batch_size, fill=False)
            return self.depth_logits.detach().masked_fill(~seen[..., None], float("nan"))
        layers = [
            step.candidates.dense(step.decisive.detach(), self.batch_size, fill=float("nan"))
            for step in self.steps
        ]
        missing = self.num_recursions - len(layers)
        layers += [torch.full(shape, float("nan"), device=self.device)] * missing
        return torch.stack(layers, dim=-1)

    def router_scores(self) -> Tensor:
        """Return the logits after the activation, before alpha; (B, S, R), NaN where not computed.

        An auxiliary router's activation is the sigmoid, by which it learns.
        """
        logits = self.router_logits()
        if self.auxiliary:
            return logits.sigmoid()
        return logits if self.router is None else self.router.scores(logits)

    def active_counts(self) -> list[list[int]]:
        """Count active tokens, one list a row with one number a recursion."""
        counts: list[list[int]] = self.active().sum(dim=1).tolist()
        return counts

    def routing_accuracy(self) -> list[float]:
        """Return, per recursion, the share of candidates whose sigmoid(z) >= 0.5 agrees with the choice made.

        Nothing for token-choice, which has no threshold.
        """
        if self.depth_logits is not None:
            return []
        return [step.agreements().float().mean().item() for step in self.steps]
