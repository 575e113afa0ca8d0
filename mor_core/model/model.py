"""The language model with the interface of Hugging Face: backbone, head and losses.

The stack of layers is in `backbone.py`, the recursions are in `expert_choice.py` and `token_choice.py`.

Shapes: B batch, S positions in this call, E hidden size, V vocabulary.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers import AutoModel, AutoModelForCausalLM, GenerationMixin
from transformers.utils.generic import ModelOutput

from mor_core.model.backbone import MoRModel, MoRPreTrainedModel
from mor_core.model.cache import RecursionCache
from mor_core.model.config import MoRConfig
from mor_core.model.losses import IGNORED, linear_cross_entropy
from mor_core.model.routing_rules import RoutingRule
from mor_core.model.routing_trace import RecursionTrace
from mor_core.model.switch_experts import ExpertLog


@dataclass
class MoROutput(ModelOutput):
    """The output of `MoRForCausalLM`.

    Attributes:
        loss: with labels: the total that training minimises, in nats.
        loss_terms: its parts before their coefficients, detached: `lm`; with expert-choice `aux` and `z`, with
            token-choice `z` and `balancing`, with Switch layers `expert_balancing` and `expert_z`.
        logits: (B, S or logits_to_keep, V); `None` when only the loss was requested.
        past_key_values: the cache, with this call's active tokens added.
        recursion_trace: the routing decisions.
        expert_log: the expert of each token in each Switch layer; `None` without Switch layers.
        hidden_states: (B, S, E) after the final norm.
    """

    loss: Tensor | None = None
    loss_terms: dict[str, Tensor] | None = None
    logits: Tensor | None = None
    past_key_values: RecursionCache | None = None
    recursion_trace: RecursionTrace | None = None
    expert_log: ExpertLog | None = None
    hidden_states: Tensor | None = None


class MoRForCausalLM(MoRPreTrainedModel, GenerationMixin):  # type: ignore[misc]
    """The language model: `AutoModelForCausalLM` loads it, `generate()` runs it."""

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}

    def __init__(self, config: MoRConfig) -> None:
        super().__init__(config)
        self.model = MoRModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: RecursionCache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        *,
        routing: RoutingRule | None = None,
        gathered: bool = True,
        loss_weights: Mapping[str, float] | None = None,
        return_dict: bool = True,
    ) -> MoROutput:
        """Predict the next token at every position.

        Args:
            input_ids: (B, S).
            attention_mask: (B, past + S), 0 for padding; padding is never routed, cached or counted.
            position_ids: (B, S) or (1, S); by default they continue those of the cache and skip padding.
            past_key_values: the cache of earlier calls.
            inputs_embeds: (B, S, E) instead of ids.
            labels: (B, S), aligned with the input as Hugging Face does (shifted inside), -100 ignored.
                Training then returns no logits, since the loss never computes all of them at once.
            use_cache: default: the config's while not training.
            logits_to_keep: return logits of the last n positions only; 0 for all.
            routing: the routing rule; `None` takes the training rule (top-k for expert-choice) while training, else
                the causal rule.
            gathered: leave inactive tokens out; False computes and drops them (the reference path).
            loss_weights: weights of auxiliary loss terms by name, in place of the config's, as a stage of a training
                schedule may need.
            return_dict: Hugging Face passes True; tuples are not supported.

        Raises:
            ValueError: contradictory arguments, or a rule that does not fit the model.
        """
        if not return_dict:
            raise ValueError("return_dict must be True: this model returns MoROutput alone")
        wants_loss = labels is not None
        backbone = self.model(
            input_ids,
            attention_mask,
            position_ids,
            past_key_values,
            inputs_embeds,
            use_cache,
            routing=routing,
            gathered=gathered,
            supervised=wants_loss,
        )
        hidden_states = backbone.last_hidden_state
        loss, terms = None, None
        if labels is not None:
            auxiliary = backbone.auxiliary_losses
            loss, terms = self._loss(
                hidden_states, labels, attention_mask, auxiliary, loss_weights or {}
            )
        logits = None
        if not (wants_loss and self.training):
            kept = (
                slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
            )
            logits = self.lm_head(hidden_states[:, kept])
        return MoROutput(
            loss=loss,
            loss_terms=terms,
            logits=logits,
            past_key_values=backbone.past_key_values,
            recursion_trace=backbone.recursion_trace,
            expert_log=backbone.expert_log,
            hidden_states=hidden_states,
        )

    def _loss(
        self,
        hidden_states: Tensor,
        labels: Tensor,
        attention_mask: Tensor | None,
        auxiliary_losses: dict[str, Tensor],
        loss_weights: Mapping[str, float],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted total and its parts."""
        targets = labels[:, 1:]
        if attention_mask is not None:
            targets = targets.masked_fill(attention_mask[:, 1:] == 0, IGNORED)
        terms = {
            "lm": linear_cross_entropy(
                hidden_states[:, :-1].flatten(0, 1), self.lm_head.weight, targets.flatten()
            ),
            **auxiliary_losses,
        }
        # The auxiliary router's loss sends no gradient into the model, so it needs no coefficient.
        aux_weight = self.config.router_aux_loss_coef
        if self.config.router_supervision == "aux_router":
            aux_weight = 1.0
        weights = {
            "aux": aux_weight,
            "z": self.config.router_z_loss_coef,
            "depth_price": self.config.router_depth_price_coef,
            "balancing": self.config.router_balancing_loss_coef,
            "expert_balancing": self.config.expert_balancing_loss_coef,
            "expert_z": self.config.expert_z_loss_coef,
            **loss_weights,
        }
        total = terms["lm"]
        for name in auxiliary_losses:
            if weights[name]:
                total = total + weights[name] * terms[name]
        return total, {name: term.detach() for name, term in terms.items()}

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """Generate as Hugging Face does, with a `RecursionCache`.

        `use_cache=False` and a given `past_key_values` are respected. Routing follows the causal rule. A model whose
        cache cannot be reused (`kv_strategy="shared_updated"`) recomputes.
        """
        if self.config.kv_strategy == "shared_updated":
            kwargs.setdefault("use_cache", False)
        if kwargs.get("past_key_values") is None and kwargs.get("use_cache", self.config.use_cache):
            kwargs["past_key_values"] = RecursionCache(self.config)
        return super().generate(*args, **kwargs)  # type: ignore[misc]


AutoModel.register(MoRConfig, MoRModel)
AutoModelForCausalLM.register(MoRConfig, MoRForCausalLM)
