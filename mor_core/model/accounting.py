"""Counts of parameters, FLOPs and cache bytes, as closed forms of the configuration.

A multiply-add is 2 FLOPs. Like `torch.utils.flop_counter.FlopCounterMode` with the math
attention kernel, this module counts matrix products only, and attention counts every query-key pair
of a call, including the masked half. No tensors are needed.

`active_flops` counts the work that the routing decisions require; `dense_flops` counts what the masked path executes.
"""

from collections.abc import Sequence

from mor_core.model.config import ROUTER_FIELDS, MoRConfig
from mor_core.model.layer_schedule import layer_schedule

TRAINING_FACTOR = 3
"""Forward and backward; the backward pass costs two forwards: a product for the input and one for the weight."""


def active_flops(
    config: MoRConfig,
    num_tokens: int,
    active_counts: Sequence[int],
    *,
    past_tokens: int = 0,
    past_counts: Sequence[int] | None = None,
    num_logits: int | None = None,
) -> int:
    """Count the forward pass of one sequence without its inactive tokens.

    Args:
        config: the model's configuration.
        num_tokens: tokens of this call, all of which run through prelude and coda.
        active_counts: how many of them took part in recursion 1, 2, ... R.
        past_tokens: tokens already in the cache.
        past_counts: how many of those took part in each recursion; default none.
        num_logits: positions for which the head computes logits; default all of this call.

    Raises:
        ValueError: there is not exactly one count per recursion.
    """
    parts = flops_by_part(
        config,
        num_tokens,
        active_counts,
        past_tokens=past_tokens,
        past_counts=past_counts,
        num_logits=num_logits,
    )
    return sum(parts.values())


def flops_by_part(
    config: MoRConfig,
    num_tokens: int,
    active_counts: Sequence[int],
    *,
    past_tokens: int = 0,
    past_counts: Sequence[int] | None = None,
    num_logits: int | None = None,
) -> dict[str, int]:
    """Count as `active_flops` does, split into `prelude`, `recursion 1`, ..., `coda`, `router` and `head`.

    Parts that the model does not have are left out.
    """
    recursions = config.num_recursions
    past_counts = [0] * recursions if past_counts is None else past_counts
    for name, counts in (("active_counts", active_counts), ("past_counts", past_counts)):
        if len(counts) != recursions:
            raise ValueError(
                f"{name} must have num_recursions={recursions} entries, got {len(counts)}"
            )
    parts: dict[str, int] = {}
    layer, is_routed = _LayerFlops(config), config.has_router
    has_own_keys = config.kv_strategy == "recursion_wise"
    for call in layer_schedule(config):
        if call.recursion_idx is None or not is_routed:
            queries, keys = num_tokens, past_tokens + num_tokens
        else:
            queries = active_counts[call.recursion_idx]
            written_at = call.recursion_idx if has_own_keys else 0
            keys = past_counts[written_at] + active_counts[written_at]
        name = call.stage if call.recursion_idx is None else f"recursion {call.recursion_idx + 1}"
        flops = layer.count(queries, keys, projects_keys=call.computes_keys)
        parts[name] = parts.get(name, 0) + flops
    if is_routed:
        # One router scores every token once, or each recursion's router scores its candidates.
        once = config.router.chooses_once
        scored = num_tokens if once else sum([num_tokens, *active_counts[:-1]])
        parts["router"] = 2 * scored * config.router.num_weights(vars(config))
    logits = num_tokens if num_logits is None else num_logits
    parts["head"] = 2 * logits * config.hidden_size * config.vocab_size
    return parts


def dense_flops(
    config: MoRConfig, num_tokens: int, *, past_tokens: int = 0, num_logits: int | None = None
) -> int:
    """Count the forward pass of one sequence when every token takes every recursion."""
    return active_flops(
        config,
        num_tokens,
        [num_tokens] * config.num_recursions,
        past_tokens=past_tokens,
        past_counts=[past_tokens] * config.num_recursions,
        num_logits=num_logits,
    )


class DecodeFlops:
    """Counts decoded tokens as `active_flops` does, but from precomputed sums, since decode counts every token."""

    def __init__(self, config: MoRConfig) -> None:
        recursions = config.num_recursions
        self._is_routed = config.has_router
        self._shares_keys = config.kv_strategy != "recursion_wise"
        self._alone = [  # a token with an empty cache, by depth
            active_flops(config, 1, [int(index < depth) for index in range(recursions)])
            for depth in range(recursions + 1)
        ]
        per_key = layer_flops(config, 1, 1) - layer_flops(config, 1, 0)
        self._per_recursion = per_key * config.num_layers_per_recursion
        self._outside = per_key * (config.num_prelude_layers + config.num_coda_layers)

    def active(self, depth: int, past_tokens: int, past_counts: Sequence[int]) -> int:
        """Count a token of the given depth after `past_tokens`, of which `past_counts` took part in each recursion."""
        if not self._is_routed:
            return self.dense(past_tokens)
        keys = depth * past_counts[0] if self._shares_keys else sum(past_counts[:depth])
        return self._alone[depth] + self._outside * past_tokens + self._per_recursion * keys

    def dense(self, past_tokens: int) -> int:
        """Count a token of full depth after `past_tokens` tokens of full depth."""
        recursions = len(self._alone) - 1
        per_key = self._outside + recursions * self._per_recursion
        return self._alone[-1] + per_key * past_tokens


def training_flops(config: MoRConfig, num_tokens: int, active_counts: Sequence[int]) -> int:
    """Count forward and backward of one training sequence; attention among k active tokens counts as k x k."""
    return TRAINING_FACTOR * active_flops(config, num_tokens, active_counts)


def executed_flops(
    config: MoRConfig, num_tokens: int, active_counts: Sequence[Sequence[int]]
) -> int:
    """Count what a training batch executes on the gathered path, which pads rows to the longest of each recursion.

    This equals the sum of `training_flops` under top-k, where all rows have the same counts; it is more under rules
    that give rows different counts. A row without active tokens in a recursion is not computed there.

    Args:
        config: the model's configuration.
        num_tokens: tokens per row.
        active_counts: per row, one count per recursion.
    """
    longest = [max(counts) for counts in zip(*active_counts, strict=True)]
    total = 0
    for counts in active_counts:
        filled = [most if count else 0 for count, most in zip(counts, longest, strict=True)]
        total += training_flops(config, num_tokens, filled)
    return total


def dropped_flops(config: MoRConfig, num_dropped: int) -> int:
    """Count by how much `training_flops` is too high where Switch experts dropped (token, layer call) pairs."""
    return TRAINING_FACTOR * num_dropped * 2 * mlp_parameters(config)


def layer_flops(config: MoRConfig, queries: int, keys: int, *, projects_keys: bool = True) -> int:
    """Count one layer for `queries` tokens that attend to `keys` cache entries."""
    return _LayerFlops(config).count(queries, keys, projects_keys=projects_keys)


class _LayerFlops:
    """Counts one layer. Reads the config once, since each attribute of a Hugging Face config takes microseconds."""

    def __init__(self, config: MoRConfig) -> None:
        hidden, width = config.hidden_size, config.attention_head_dim
        self._query_width = config.num_attention_heads * width
        self._key_weights = 2 * hidden * config.num_key_value_heads * width
        self._weights = 2 * hidden * self._query_width + mlp_parameters(config)
        if config.num_experts > 1:
            self._weights += hidden * config.num_experts

    def count(self, queries: int, keys: int, *, projects_keys: bool) -> int:
        """Count `queries` tokens that attend to `keys` cache entries."""
        weights = self._weights + (self._key_weights if projects_keys else 0)
        return 2 * queries * weights + 4 * queries * keys * self._query_width


def mlp_parameters(config: MoRConfig) -> int:
    """Count the weights of one feed-forward network, or of one expert."""
    return 3 * config.hidden_size * config.intermediate_size


def vanilla_config(config: MoRConfig) -> MoRConfig:
    """Return the plain Transformer of the same widths and unrolled depth: the baseline of every comparison."""
    defaults = MoRConfig()
    plain = {name: getattr(defaults, name) for name in ROUTER_FIELDS} | {"router_type": "none"}
    return config.replaced(
        num_prelude_layers=0,
        num_coda_layers=0,
        num_recursions=1,
        num_layers_per_recursion=config.num_hidden_layers,
        sharing="cycle",
        **plain,
        kv_strategy="recursion_wise",
        recursion_specific=[],
        num_experts=1,
    )


def kv_bytes_per_entry(config: MoRConfig, bytes_per_number: int) -> int:
    """Return the bytes of one token's key and value in one cache slot."""
    return 2 * config.num_key_value_heads * config.attention_head_dim * bytes_per_number


def kv_bytes(
    config: MoRConfig, num_tokens: int, active_counts: Sequence[int], bytes_per_number: int
) -> int:
    """Return the bytes of a cache that holds `num_tokens`, of which `active_counts` took part in each recursion."""
    entries = {}
    for call in layer_schedule(config):
        if call.writes_cache:
            routed = config.has_router and call.recursion_idx is not None
            entries[call.cache_slot] = (
                active_counts[call.recursion_idx or 0] if routed else num_tokens
            )
    return sum(entries.values()) * kv_bytes_per_entry(config, bytes_per_number)


def vanilla_kv_bytes(config: MoRConfig, num_tokens: int, bytes_per_number: int) -> int:
    """Return the cache bytes of the plain Transformer of the same unrolled depth."""
    return config.num_hidden_layers * num_tokens * kv_bytes_per_entry(config, bytes_per_number)


def parameter_count(config: MoRConfig, *, with_embeddings: bool = True) -> int:
    """Return the number of parameters; tied embeddings count once."""
    query_width = config.num_attention_heads * config.attention_head_dim
    key_width = config.num_key_value_heads * config.attention_head_dim
    attention = 2 * config.hidden_size * (query_width + key_width)
    norms = 2 * config.hidden_size
    layer = attention + config.num_experts * mlp_parameters(config) + norms
    if config.num_experts > 1:
        layer += config.hidden_size * config.num_experts
    shared = config.num_layers_per_recursion
    layers = config.num_prelude_layers + shared + config.num_coda_layers
    total = layers * layer + config.hidden_size
    own = {"attention": attention, "norms": norms}
    total += (
        shared * (config.num_recursions - 1) * sum(own[part] for part in config.recursion_specific)
    )
    if config.has_router:
        kind, settings = config.router, vars(config)
        total += kind.num_routers(settings) * kind.num_weights(settings)
        total += config.num_recursions if config.router_balancing == "loss_free" else 0  # a bias
    if with_embeddings:
        tables = 1 if config.tie_word_embeddings else 2
        total += tables * config.vocab_size * config.hidden_size
    return total
