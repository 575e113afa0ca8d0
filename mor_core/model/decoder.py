"""One decoder layer, and the parts of it that a recursion may not share.

Shapes: B batch, S positions in this call, E hidden size.
"""

from torch import Tensor, nn

from mor_core.model.config import MoRConfig
from mor_core.model.layers import MLP, Attention, KeyValueSlot, RMSNorm, Rotary
from mor_core.model.switch_experts import ExpertLog, SwitchMLP


class DecoderLayer(nn.Module):
    """Pre-norm attention and feed-forward, each with a residual connection."""

    def __init__(self, config: MoRConfig) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = MLP(config) if config.num_experts == 1 else SwitchMLP(config)

    def forward(
        self,
        hidden_states: Tensor,
        rotary: Rotary,
        slot: KeyValueSlot,
        experts: ExpertLog,
        own: "RecursionParts | None" = None,
    ) -> Tensor:
        """Apply the layer; (B, S, E) -> (B, S, E).

        Args:
            hidden_states: (B, S, E).
            rotary: cosines and sines at the tokens' positions.
            slot: stores this call's keys and values and returns those to attend to.
            experts: the log of Switch layers.
            own: parts that replace the layer's in this recursion.
        """
        parts = self._modules if own is None else {**self._modules, **own._modules}
        normalised = parts["input_layernorm"](hidden_states)  # type: ignore[misc]
        attended = parts["self_attn"](normalised, rotary, slot)  # type: ignore[misc]
        hidden_states = hidden_states + attended
        normalised = parts["post_attention_layernorm"](hidden_states)  # type: ignore[misc]
        if isinstance(self.mlp, SwitchMLP):
            return hidden_states + self.mlp(normalised, experts)
        return hidden_states + self.mlp(normalised)


class RecursionParts(nn.Module):
    """The parts of one layer that one recursion does not share: its attention, its norms, or both."""

    def __init__(self, config: MoRConfig) -> None:
        super().__init__()
        if "attention" in config.recursion_specific:
            self.self_attn = Attention(config)
        if "norms" in config.recursion_specific:
            self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
            self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
