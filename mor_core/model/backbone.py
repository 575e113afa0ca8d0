"""The stack of layers: embedding, prelude, recursions, coda and final norm.

Routing is in `expert_choice.py` and `token_choice.py`; the order of the layer calls is in `layer_schedule.py`.

Shapes: B batch, S positions in this call, E hidden size.
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils.generic import ModelOutput

from mor_core.model.cache import RecursionCache, SlotView
from mor_core.model.config import MoRConfig
from mor_core.model.decoder import DecoderLayer, RecursionParts
from mor_core.model.layer_schedule import LayerCall, layer_schedule
from mor_core.model.layers import RMSNorm, rotary_embedding
from mor_core.model.random_draws import draw_keys, text_opening
from mor_core.model.routers import Observer, RoutedCall, Router, make_routers
from mor_core.model.routing_rules import RoutingRule, default_rule
from mor_core.model.routing_trace import RecursionTrace
from mor_core.model.switch_experts import ExpertLog
from mor_core.model.token_set import TokenSet


@dataclass
class BackboneOutput(ModelOutput):
    """Final hidden states (B, S, E), the cache, the routing decisions, and the loss terms of routers and experts."""

    last_hidden_state: Tensor | None = None
    past_key_values: RecursionCache | None = None
    recursion_trace: RecursionTrace | None = None
    expert_log: ExpertLog | None = None
    auxiliary_losses: dict[str, Tensor] | None = None


class MoRPreTrainedModel(PreTrainedModel):  # type: ignore[misc]
    """Weight initialisation, and the class attributes that Hugging Face reads."""

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
        # One list for each of recursions 2, 3, ...; recursion 1 uses the parts of the shared layers.
        self.recursion_parts = nn.ModuleList(
            nn.ModuleList(RecursionParts(config) for _ in range(config.num_layers_per_recursion))
            for _ in range(config.num_recursions - 1 if config.recursion_specific else 0)
        )
        self.routers = make_routers(config)
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
        observe: Observer | None = None,
    ) -> BackboneOutput:
        """Run the stack. Arguments as in `MoRForCausalLM.forward`; `supervised` adds the routers' losses.

        `observe` is called with the states (B, S, E) after every recursion that a token entered.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give exactly one of input_ids and inputs_embeds")
        hidden_states = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        wants_cache = (
            self.config.use_cache and not self.training if use_cache is None else use_cache
        )
        cache = past_key_values
        if cache is None and wants_cache:
            cache = RecursionCache(self.config)
        real, position_ids = _token_positions(hidden_states, attention_mask, position_ids, cache)
        rule = routing or default_rule(self.config, training=self.training)
        rule.check(self.config)
        # Recursive KV sharing reads what recursion 1 wrote, so it needs slots even if no cache is returned.
        slots = cache
        if slots is None and self.config.kv_strategy != "recursion_wise":
            slots = RecursionCache(self.config)
        if slots is not None and slots.num_seen_tokens and not self.config.can_reuse_cache:
            raise ValueError(
                'past_key_values must be empty with kv_strategy="shared_updated": a recursion\'s own keys replace '
                "those of recursion 1 for one call and are not kept, so a later call would attend to other keys than "
                "one call on the whole sequence; recompute with use_cache=False"
            )
        log = ExpertLog(real.valid, drops=self.training)
        call = _Call(self, slots, position_ids, log)
        hidden_states = call.run("prelude", None, real, hidden_states)
        keys = self._draw_keys(rule, input_ids, position_ids, real.valid, slots)
        options = (gathered, supervised, self.training, observe)
        routed = RoutedCall(self.config, rule, real, position_ids, keys, *options)
        hidden_states, trace, losses = self._recur(call, hidden_states, routed)
        hidden_states = self.norm(call.run("coda", None, real, hidden_states))
        if cache is not None:
            cache.num_seen_tokens += hidden_states.shape[1]
        if supervised:
            losses |= log.losses()
        return BackboneOutput(
            last_hidden_state=hidden_states,
            past_key_values=cache if wants_cache else None,
            recursion_trace=trace,
            expert_log=log if self.config.num_experts > 1 else None,
            auxiliary_losses=losses,
        )

    def _draw_keys(
        self,
        rule: RoutingRule,
        input_ids: Tensor | None,
        position_ids: Tensor,
        valid: Tensor | None,
        cache: RecursionCache | None,
    ) -> Tensor:
        """Return this call's keys for random routing, (B, S); the cache stores the text's first tokens."""
        if input_ids is None or not rule.draws_by_text(self.config):
            return draw_keys(position_ids, None)
        before = None if cache is None else cache.opening
        opening = text_opening(input_ids, position_ids, valid, before)
        if cache is not None:
            cache.opening = opening
        return draw_keys(position_ids, opening)

    def _recur(
        self, call: "_Call", hidden_states: Tensor, routed: RoutedCall
    ) -> tuple[Tensor, RecursionTrace, dict[str, Tensor]]:
        """Apply the shared block as the model's routers decide; return states, routing trace and router losses."""

        def block(index: int, tokens: TokenSet, states: Tensor) -> Tensor:
            return call.run("shared", index, tokens, states)

        if self.config.has_router:
            routers = cast(list[Router], list(self.routers))
            return type(routers[0]).recur(routed, hidden_states, routers, block)
        trace = RecursionTrace(
            len(hidden_states), self.config.num_recursions, None, routed.real, hidden_states.device
        )
        if self.config.sharing == "sequence":  # a layer runs R times before the next one begins
            return call.run("shared", None, routed.real, hidden_states), trace, {}
        for index in range(self.config.num_recursions):
            hidden_states = block(index, routed.real, hidden_states)
            if routed.observe is not None:
                routed.observe(hidden_states)
        return hidden_states, trace, {}


class _Call:
    """One forward call: runs the layer calls of the schedule, each with its cache slot."""

    def __init__(
        self,
        model: MoRModel,
        cache: RecursionCache | None,
        position_ids: Tensor,
        log: ExpertLog,
    ) -> None:
        self.config: MoRConfig = model.config
        self.layers = {"prelude": model.prelude, "shared": model.shared, "coda": model.coda}
        self.recursion_parts = model.recursion_parts
        self.log = log
        self.schedule = model.schedule
        self.cache = cache
        self.position_ids = position_ids

    def run(
        self, stage: str, recursion_idx: int | None, tokens: TokenSet, states: Tensor
    ) -> Tensor:
        """Apply a stage's layers, of one recursion or of all (`None`); (b, K, E) -> (b, K, E)."""
        positions = tokens.gather(self.position_ids.expand(self._batch_size(tokens, states), -1))
        rotary = rotary_embedding(positions, self.config, states.dtype)
        for step in self.schedule:
            if step.stage == stage and recursion_idx in (None, step.recursion_idx):
                view = self._view(step, tokens, positions, states)
                layer, own = self.layers[stage][step.layer_idx], self._own_parts(step)
                states = layer(states, rotary, view, self.log, own)
        return states

    def _batch_size(self, tokens: TokenSet, states: Tensor) -> int:
        return len(states) if tokens.rows is None else len(self.position_ids)

    def _view(
        self, step: LayerCall, tokens: TokenSet, positions: Tensor, states: Tensor
    ) -> SlotView:
        slot = None if self.cache is None else self.cache.slots[step.cache_slot]
        batch_size = self._batch_size(tokens, states)
        return SlotView(
            tokens,
            positions,
            batch_size,
            slot,
            writes=step.writes_cache,
            computes_keys=step.computes_keys,
        )

    def _own_parts(self, step: LayerCall) -> RecursionParts | None:
        if not self.recursion_parts or not step.recursion_idx:
            return None
        parts = cast(nn.ModuleList, self.recursion_parts[step.recursion_idx - 1])
        return cast(RecursionParts, parts[step.layer_idx])


def _layers(config: MoRConfig, count: int) -> nn.ModuleList:
    return nn.ModuleList(DecoderLayer(config) for _ in range(count))


def _token_positions(
    hidden_states: Tensor,
    attention_mask: Tensor | None,
    position_ids: Tensor | None,
    cache: RecursionCache | None,
) -> tuple[TokenSet, Tensor]:
    """Return this call's tokens without padding, and the position (B, S) of each."""
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
