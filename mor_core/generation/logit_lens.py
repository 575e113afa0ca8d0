"""What the model would predict if a token stopped after an earlier recursion: an early exit, without training for it.

The lens at r applies the model's coda, final norm and head to a token's state after recursion r, while every other
position keeps the coda keys and values of the normal forward pass. A token whose depth is below r keeps its final
state, so its prediction at r is its final one. This is extra work: its FLOPs are not counted as the model's.

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
class _EarlyExitSlot:
    """The keys of one coda layer: those of the normal forward pass for earlier positions, and each state's own.

    The batch holds the states after every recursion; its last `num_rows` rows are those of the normal forward pass.
    """

    num_rows: int
    computes_keys: bool = True

    def write(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """(R x B, G, S, D) -> (R x B, G, 2S, D): keys of the normal forward pass, then each row's own."""
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
    """Return the logits (B, S, V) after each of R recursions, the last being the model's own, and the routing trace.

    Args:
        model: any Mixture-of-Recursions, recursive or plain model.
        input_ids: (B, S), without padding on the left; ignore the logits after the end of a shorter row.
        rule: the routing rule.

    Raises:
        ValueError: the rule does not fit the model, or the model has no states between recursions.
    """
    if model.config.sharing == "sequence":
        raise ValueError(
            "sharing=sequence repeats each layer before the next, so there is no state after a recursion to show"
        )
    states: list[Tensor] = []
    output = model.model(input_ids, use_cache=False, routing=rule, observe=states.append)
    recursions = model.config.num_recursions
    if not states:  # possible where the first capacity is below 1
        raise ValueError(
            "no token of this text entered a recursion, so there is no early exit to show"
        )
    states += [states[-1]] * (recursions - len(states))
    positions = torch.arange(input_ids.shape[1], device=input_ids.device)[None]
    rotary = rotary_embedding(positions, model.config, states[0].dtype)
    hidden = torch.cat(states)  # (R x B, S, E)
    for layer in model.model.coda:
        hidden = layer(hidden, rotary, _EarlyExitSlot(len(input_ids)), ExpertLog(None, drops=False))
    logits = [model.lm_head(part) for part in model.model.norm(hidden).chunk(recursions)]
    return logits, output.recursion_trace
