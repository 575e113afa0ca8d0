"""What the model would predict if a token stopped after an earlier recursion: an early exit, which was never trained.

The lens at r applies the real coda, final norm and head to a token's state after recursion r, while every other
position keeps the coda keys and values that it really has. A token that left before r has the state it left with, so
its prediction at r is its final one. All of this is extra work: its FLOPs are not the model's.

Shapes: B batch, S positions, E hidden size, R recursions, V vocabulary, G key/value heads, D head width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from mor_core.model.layers import rotary_embedding
from mor_core.model.model import MoRForCausalLM
from mor_core.model.routing_rules import RoutingRule
from mor_core.model.routing_trace import RecursionTrace
from mor_core.model.switch_experts import ExpertLog


@dataclass
class _Observed:
    """The coda's keys for one layer: the real ones of earlier positions, and each state's own.

    `real` is where the states of the last recursion, which are the real ones, lie in the batch: its last B rows.
    """

    num_rows: int
    computes_keys: bool = True

    def write(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """(R x B, G, S, D) -> (R x B, G, 2S, D): every row's real twin, then itself."""
        return self._with_real(keys), self._with_real(values)

    def read(self) -> tuple[Tensor, Tensor]:
        raise AssertionError("a coda layer computes its own keys")

    def visibility(self) -> tuple[Tensor | None, bool]:
        return self.mask, False

    def _with_real(self, own: Tensor) -> Tensor:
        real = own[-self.num_rows :].repeat(len(own) // self.num_rows, 1, 1, 1)
        length = own.shape[2]
        before = torch.ones(length, length, dtype=torch.bool, device=own.device).tril(-1)
        self.mask = torch.cat((before, torch.eye(length, dtype=torch.bool, device=own.device)), 1)
        return torch.cat((real, own), dim=2)


@torch.inference_mode()
def early_exit_logits(
    model: MoRForCausalLM, input_ids: Tensor, rule: RoutingRule
) -> tuple[list[Tensor], RecursionTrace]:
    """Return the logits (B, S, V) after each of R recursions, the last being the model's own, and what was decided.

    Args:
        model: any of the family.
        input_ids: (B, S), without padding on the left; what stands after a shorter row's end is not to be read.
        rule: the routing rule.

    Raises:
        ValueError: the rule does not fit the model, or the model has no states between recursions.
    """
    if model.config.sharing == "sequence":
        raise ValueError(
            "sharing=sequence repeats each layer before the next, so there is no state after a recursion to look at"
        )
    states: list[Tensor] = []
    output = model.model(input_ids, use_cache=False, routing=rule, observe=states.append)
    recursions = model.config.num_recursions
    if not states:  # nobody entered any recursion, which a first capacity below 1 allows
        raise ValueError(
            "no token of this text entered a recursion, so there is no early exit to show"
        )
    states += [states[-1]] * (recursions - len(states))
    positions = torch.arange(input_ids.shape[1], device=input_ids.device)[None]
    rotary = rotary_embedding(positions, model.config, states[0].dtype)
    hidden = torch.cat(states)  # (R x B, S, E)
    for layer in model.model.coda:
        hidden = layer(hidden, rotary, _Observed(len(input_ids)), ExpertLog(None, drops=False))
    logits = [model.lm_head(part) for part in model.model.norm(hidden).chunk(recursions)]
    return logits, output.recursion_trace
