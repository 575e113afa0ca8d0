"""The model as a Hugging Face citizen: embedding, prelude, recursions, coda, head, and the glue.

The recursion itself is in `recursion.py`; which layer runs when is in `schedule.py`.

Shapes: B batch, S positions in this call, E hidden size, V vocabulary.
"""

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    GenerationMixin,
    PreTrainedModel,
)
from transformers.utils.generic import ModelOutput

from mor_core.cache import RecursionCache, SlotView
from mor_core.config import MoRConfig
from mor_core.layers import DecoderLayer, RMSNorm, rotary_embedding
from mor_core.losses import IGNORED, linear_cross_entropy
from mor_core.recursion import Recursions, RecursionTrace
from mor_core.routing import ExpertChoiceRouter, RoutingRule
from mor_core.schedule import LayerCall, layer_schedule
from mor_core.tokens import TokenSet


@dataclass
class MoROutput(ModelOutput):
    """What a call returns.

    Attributes:
        loss: with labels: the total that training minimises, in nats.
        loss_terms: its parts before their coefficients, detached: `lm`, and with a router `aux` and `z`.
        logits: (B, S or logits_to_keep, V); `None` when only the loss was asked for.
        past_key_values: the cache, with this call's active tokens added.
        recursion_trace: what the routers decided.
        hidden_states: (B, S, E) after the final norm.
    """

    loss: Tensor | None = None
    loss_terms: dict[str, Tensor] | None = None
    logits: Tensor | None = None
    past_key_values: RecursionCache | None = None
    recursion_trace: RecursionTrace | None = None
    hidden_states: Tensor | None = None


@dataclass
class BackboneOutput(ModelOutput):
    """Final hidden states (B, S, E), the cache, what was decided, and the routers' loss terms."""

    last_hidden_state: Tensor | None = None
    past_key_values: RecursionCache | None = None
    recursion_trace: RecursionTrace | None = None
    router_losses: dict[str, Tensor] | None = None


class MoRPreTrainedModel(PreTrainedModel):  # type: ignore[misc]
    """Weights' names, initialisation and what Hugging Face needs to know."""

    config: MoRConfig
    config_class = MoRConfig
    base_model_prefix = "model"
    _supports_sdpa = True
    _no_split_modules = ["DecoderLayer"]

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=self.config.initializer_range)
        elif isinstance(module, RMSNorm):
            nn.init.ones_(module.weight)


class MoRModel(MoRPreTrainedModel):
    """Embedding, prelude, shared block applied up to R times, coda and final norm."""

    def __init__(self, config: MoRConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.prelude = _layers(config, config.num_prelude_layers)
        self.shared = _layers(config, config.num_layers_per_recursion)
        self.coda = _layers(config, config.num_coda_layers)
        self.routers = nn.ModuleList(
            ExpertChoiceRouter(config) for _ in range(config.num_recursions * config.has_router)
        )
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.schedule = layer_schedule(config)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: RecursionCache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        *,
        routing: RoutingRule | None = None,
        gathered: bool = True,
        supervised: bool = False,
    ) -> BackboneOutput:
        """Run the stack. Arguments as in `MoRForCausalLM.forward`; `supervised` adds the routers' losses."""
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give exactly one of input_ids and inputs_embeds")
        hidden_states = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        wants_cache = (
            self.config.use_cache and not self.training if use_cache is None else use_cache
        )
        cache = past_key_values
        if cache is None and wants_cache:
            cache = RecursionCache(self.config)
        real, position_ids = _place_tokens(hidden_states, attention_mask, position_ids, cache)
        # Recursive KV sharing reads what recursion 1 wrote, so it needs slots even if nobody keeps them.
        slots = cache
        if slots is None and self.config.kv_strategy == "shared":
            slots = RecursionCache(self.config)
        call = _Call(self, slots, position_ids)
        hidden_states = call.run("prelude", None, real, hidden_states)
        rule = routing or (RoutingRule.top_k() if self.training else RoutingRule.causal())
        recursions = Recursions(
            self.config, rule, real, position_ids, gathered=gathered, supervised=supervised
        )
        if self.routers:
            hidden_states, trace = recursions.run(
                hidden_states,
                cast(list[ExpertChoiceRouter], list(self.routers)),
                lambda index, tokens, states: call.run("shared", index, tokens, states),
            )
        else:
            hidden_states = call.run("shared", None, real, hidden_states)
            trace = RecursionTrace(
                len(hidden_states),
                self.config.num_recursions,
                real=real,
                device=hidden_states.device,
            )
        hidden_states = self.norm(call.run("coda", None, real, hidden_states))
        if cache is not None:
            cache.num_seen_tokens += hidden_states.shape[1]
        return BackboneOutput(
            last_hidden_state=hidden_states,
            past_key_values=cache if wants_cache else None,
            recursion_trace=trace,
            router_losses=recursions.losses,
        )


class _Call:
    """One forward call: walks the schedule and hands each layer its slot."""

    def __init__(self, model: MoRModel, cache: RecursionCache | None, position_ids: Tensor) -> None:
        self.config: MoRConfig = model.config
        self.layers = {"prelude": model.prelude, "shared": model.shared, "coda": model.coda}
        self.schedule = model.schedule
        self.cache = cache
        self.position_ids = position_ids

    def run(
        self, stage: str, recursion_idx: int | None, tokens: TokenSet, states: Tensor
    ) -> Tensor:
        """Apply a stage's layers (of one recursion, or all of them); (b, K, E) -> (b, K, E)."""
        positions = tokens.gather(self.position_ids.expand(self._batch_size(tokens, states), -1))
        rotary = rotary_embedding(positions, self.config, states.dtype)
        for step in self.schedule:
            if step.stage == stage and recursion_idx in (None, step.recursion_idx):
                view = self._view(step, tokens, positions, states)
                states = self.layers[stage][step.layer_idx](states, rotary, view)
        return states

    def _batch_size(self, tokens: TokenSet, states: Tensor) -> int:
        return len(states) if tokens.rows is None else len(self.position_ids)

    def _view(
        self, step: LayerCall, tokens: TokenSet, positions: Tensor, states: Tensor
    ) -> SlotView:
        slot = None if self.cache is None else self.cache.slots[step.cache_slot]
        batch_size = self._batch_size(tokens, states)
        return SlotView(tokens, positions, batch_size, slot, writes=step.writes_cache)


class MoRForCausalLM(MoRPreTrainedModel, GenerationMixin):  # type: ignore[misc]
    """The language model: `AutoModelForCausalLM` loads it, `generate()` drives it."""

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
        return_dict: bool = True,
    ) -> MoROutput:
        """Predict the next token at every position.

        Args:
            input_ids: (B, S).
            attention_mask: (B, past + S), 0 for padding; padding is never routed, cached or counted.
            position_ids: (B, S) or (1, S); by default counted from the cache, padding left out.
            past_key_values: the cache of earlier calls.
            inputs_embeds: (B, S, E) instead of ids.
            labels: (B, S), aligned with the input as Hugging Face does (shifted inside), -100 ignored.
                Logits are then left out while training: the loss never holds them all.
            use_cache: default: the config's while not training.
            logits_to_keep: only the last n positions' logits, 0 for all.
            routing: who goes how deep; `None` is top-k while training and the causal rule otherwise.
            gathered: leave inactive tokens out; False computes and drops them (the reference path).
            return_dict: Hugging Face passes True; tuples are not offered.

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
            supervised=wants_loss and self.config.has_router,
        )
        hidden_states = backbone.last_hidden_state
        loss, terms = None, None
        if labels is not None:
            loss, terms = self._loss(hidden_states, labels, attention_mask, backbone.router_losses)
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
            hidden_states=hidden_states,
        )

    def _loss(
        self,
        hidden_states: Tensor,
        labels: Tensor,
        attention_mask: Tensor | None,
        router_losses: dict[str, Tensor],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted total and its parts."""
        targets = labels[:, 1:]
        if attention_mask is not None:
            targets = targets.masked_fill(attention_mask[:, 1:] == 0, IGNORED)
        terms = {
            "lm": linear_cross_entropy(
                hidden_states[:, :-1].flatten(0, 1), self.lm_head.weight, targets.flatten()
            ),
            **router_losses,
        }
        # The auxiliary router learns apart from the model, so nothing but its optimiser's rate weighs its loss.
        aux_weight = self.config.router_aux_loss_coef
        if self.config.router_supervision == "aux_router":
            aux_weight = 1.0
        weights = {"lm": 1.0, "aux": aux_weight, "z": self.config.router_z_loss_coef}
        total = terms["lm"]
        for name in router_losses:
            if weights[name]:
                total = total + weights[name] * terms[name]
        return total, {name: term.detach() for name, term in terms.items()}

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """Generate as Hugging Face does, with a cache that knows recursions.

        `use_cache=False` and an own `past_key_values` are respected. Routing is the causal rule.
        """
        if kwargs.get("past_key_values") is None and kwargs.get("use_cache", self.config.use_cache):
            kwargs["past_key_values"] = RecursionCache(self.config)
        return super().generate(*args, **kwargs)  # type: ignore[misc]


def _layers(config: MoRConfig, count: int) -> nn.ModuleList:
    return nn.ModuleList(DecoderLayer(config) for _ in range(count))


def _place_tokens(
    hidden_states: Tensor,
    attention_mask: Tensor | None,
    position_ids: Tensor | None,
    cache: RecursionCache | None,
) -> tuple[TokenSet, Tensor]:
    """Return which of this call's tokens are real, and the position (B or 1, S) of each."""
    batch_size, length = hidden_states.shape[:2]
    seen = 0 if cache is None else cache.num_seen_tokens
    mask = None
    if attention_mask is not None:
        if attention_mask.shape != (batch_size, seen + length):
            raise ValueError(
                f"attention_mask must have shape {(batch_size, seen + length)} (batch, past + new tokens), "
                f"got {tuple(attention_mask.shape)}"
            )
        mask = attention_mask.bool()
    if position_ids is None:
        if mask is None:
            position_ids = torch.arange(seen, seen + length, device=hidden_states.device)[None]
        else:
            position_ids = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -length:]
    valid = None
    if mask is not None and not bool(mask[:, -length:].all()):
        valid = mask[:, -length:]
    return TokenSet(length, valid=valid), position_ids.expand(batch_size, length)


AutoModel.register(MoRConfig, MoRModel)
AutoModelForCausalLM.register(MoRConfig, MoRForCausalLM)
