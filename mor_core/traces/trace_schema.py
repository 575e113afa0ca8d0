"""Checks plain data, field by field, and makes a trace of it.

What is not a trace is refused with the place, the rule and the value, whoever sent it. Imports no torch.
"""

from dataclasses import fields
from typing import Any

from mor_core.common.json_checks import check_plain, is_count, is_number, is_text, shorten
from mor_core.model.router_types import RouterTraits, router_traits
from mor_core.traces.trace import (
    LENS_VERSION,
    TRACE_SCHEMA,
    TRACE_VERSION,
    Alternative,
    CacheSlot,
    StepRecord,
    TokenRecord,
    Trace,
    TraceHeader,
)

# Later than the first files of this version; absent where there is none.
_OPTIONAL = {"expert_idx", "dense_flops", "lens"}


class TraceError(ValueError):
    """A file that is not a trace, with what is wrong and where."""


def trace_from_dict(data: Any) -> Trace:
    """Check plain data and return the trace.

    Raises:
        TraceError: names the field, the rule and the value.
    """
    if not isinstance(data, dict) or data.get("schema") != TRACE_SCHEMA:
        raise TraceError(f'this is no trace: "schema" must be "{TRACE_SCHEMA}"')
    if data.get("version") != TRACE_VERSION:
        raise TraceError(
            f"version must be {TRACE_VERSION}, got {shorten(data.get('version'))}; "
            "record the run again with this release, or open it with the one that wrote it"
        )
    header = _header(_expect(data.get("header"), dict, "header"))
    tokens = _expect(data.get("tokens"), list, "tokens")
    steps = _expect(data.get("steps"), list, "steps")
    return Trace(
        header,
        [_token(token, place, header) for place, token in enumerate(tokens)],
        [_step(step, place, header) for place, step in enumerate(steps)],
    )


def _expect(value: Any, kind: type | tuple[type, ...], where: str) -> Any:
    # True is an int to Python, but not to a schema.
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        names = kind if isinstance(kind, tuple) else (kind,)
        wanted = " or ".join("null" if name is type(None) else name.__name__ for name in names)
        raise TraceError(f"{where} must be {wanted}, got {type(value).__name__}")
    return value


def _fill(record: type[Any], data: dict[str, Any], where: str) -> Any:
    known = _FIELDS[record]
    missing, extra = sorted(known - data.keys() - _OPTIONAL), sorted(data.keys() - known)
    if missing or extra:
        raise TraceError(f"{where} has missing fields {missing} and unknown fields {extra}")
    return record(**data)


_FIELDS: dict[type[Any], set[str]] = {
    record: {entry.name for entry in fields(record)}
    for record in (TraceHeader, RouterTraits, CacheSlot, TokenRecord, Alternative, StepRecord)
}


def _header(data: dict[str, Any]) -> TraceHeader:
    is_older = "router" not in data
    header: TraceHeader = _fill(TraceHeader, {"router": None} | data, "header")
    for name in (
        "checkpoint",
        "checkpoint_sha256",
        "kv_strategy",
        "device",
        "dtype",
        "created",
        "title",
        "note",
    ):
        value = _expect(getattr(header, name), str, f"header.{name}")
        _check(is_text(value), f"header.{name} must be text without half characters", value)
    for name in ("num_recursions", "kv_bytes_per_entry", "full_depth_flops", "vanilla_kv_bytes"):
        value = getattr(header, name)
        _check(is_count(value), f"header.{name} must be an integer from 0 within 64 bits", value)
    for name in ("config", "routing", "sampling", "versions", "lens"):
        value = _expect(getattr(header, name), dict, f"header.{name}")
        try:
            check_plain(value, f"header.{name}")
        except ValueError as error:
            raise TraceError(str(error)) from error
    if header.kind not in ("generate", "analyse"):
        raise TraceError(f"header.kind must be generate or analyse, got {shorten(header.kind)}")
    if not 1 <= header.num_recursions <= 64:
        raise TraceError(f"header.num_recursions must be 1 to 64, got {header.num_recursions}")
    reason = _expect(header.finish_reason, (str, type(None)), "header.finish_reason")
    _check(reason is None or is_text(reason), "header.finish_reason must be text or null", reason)
    slots = _expect(header.cache_slots, list, "header.cache_slots")
    header.cache_slots = [
        _fill(
            CacheSlot,
            _expect(slot, dict, f"header.cache_slots[{place}]"),
            f"header.cache_slots[{place}]",
        )
        for place, slot in enumerate(slots)
    ]
    for place, window in enumerate(_expect(header.windows, list, "header.windows")):
        if not isinstance(window, list) or len(window) != 2 or not all(map(is_count, window)):
            raise TraceError(
                f"header.windows[{place}] must be two positions, got {shorten(window)}"
            )
    if is_older:  # than the field, which says no more than the config
        header.router = router_traits(header.config | {"num_recursions": header.num_recursions})
    else:
        header.router = _router(header)
    _check_slots(header)
    _check_routing(header)
    version = header.lens.get("version")
    known = not header.lens or version == LENS_VERSION
    rule = (
        f"must be {LENS_VERSION}: open the run with the release that wrote it, or record it again"
    )
    _check(known, f"header.lens.version {rule}", version)
    return header


def _router(header: TraceHeader) -> RouterTraits:
    """Check what the routers can do."""
    traits: RouterTraits = _fill(
        RouterTraits, _expect(header.router, dict, "header.router"), "header.router"
    )
    _check(is_text(traits.type), "header.router.type must be text", traits.type)
    for name in ("chooses_once", "has_threshold", "has_top_k"):
        _expect(getattr(traits, name), bool, f"header.router.{name}")
    rule = f"header.router.num_logits must be 0 to {header.num_recursions}"
    right = is_count(traits.num_logits) and traits.num_logits <= header.num_recursions
    _check(right, rule, traits.num_logits)
    return traits


def _check_slots(header: TraceHeader) -> None:
    for place, slot in enumerate(header.cache_slots):
        recursion = slot.recursion
        right = (
            is_text(slot.label)
            and is_text(slot.stage)
            and is_count(slot.layer)
            and (
                recursion is None
                or (is_count(recursion) and 1 <= recursion <= header.num_recursions)
            )
        )
        rule = "must have a stage, a layer, a label, and a recursion of the model or null"
        _check(right, f"header.cache_slots[{place}] {rule}", slot)


def _check_routing(header: TraceHeader) -> None:
    """Check what readers compute with: the thresholds, the cap, and whether recursion 1 takes every token."""
    thresholds = header.routing.get("thresholds")
    right = thresholds is None or (
        isinstance(thresholds, list)
        and len(thresholds) in (1, header.num_recursions)
        and all(is_number(score) and 0 < score < 1 for score in thresholds)
    )
    rule = f"must be one number between 0 and 1, or {header.num_recursions} of them"
    _check(right, f"header.routing.thresholds {rule}", thresholds)
    most = header.routing.get("max_depth")
    _check(
        most is None or (is_count(most) and 1 <= most <= header.num_recursions),
        "header.routing.max_depth must be null or a recursion of the model",
        most,
    )
    factors = header.config.get("capacity_factors")
    known = isinstance(factors, list) and bool(factors) and all(map(is_number, factors))
    _check(
        factors is None or known, "header.config.capacity_factors must be null or numbers", factors
    )


def _token(data: Any, place: int, header: TraceHeader) -> TokenRecord:
    where = f"tokens[{place}]"
    token: TokenRecord = _fill(TokenRecord, _expect(data, dict, where), where)
    if type(token.position) is not int or token.position != place:
        raise TraceError(f"{where}.position must be {place}, got {shorten(token.position)}")
    _check(is_count(token.token_id), f"{where}.token_id must be a vocabulary index", token.token_id)
    _check(is_text(token.text), f"{where}.text must be text", token.text)
    _check(isinstance(token.special, bool), f"{where}.special must be true or false", token.special)
    _check(
        _is_hex(token.token_bytes), f"{where}.token_bytes must be hexadecimal", token.token_bytes
    )
    _check(
        token.phase in ("prefill", "decode"),
        f"{where}.phase must be prefill or decode",
        token.phase,
    )
    depth = token.recursion_depth
    _check(
        depth is None or (is_count(depth) and depth <= header.num_recursions),
        f"{where}.recursion_depth must be null or 0 to {header.num_recursions}",
        depth,
    )
    for name in ("router_logits", "router_scores"):
        values = getattr(token, name)
        right = isinstance(values, list) and len(values) == header.num_recursions
        _check(
            right and all(map(_is_number_or_null, values)),
            f"{where}.{name} must be {header.num_recursions} numbers or nulls",
            values,
        )
    slots = token.cached_slots
    _check(
        isinstance(slots, list)
        and all(is_count(slot) and slot < len(header.cache_slots) for slot in slots),
        f"{where}.cached_slots must be indices below {len(header.cache_slots)}",
        slots,
    )
    experts = token.expert_idx
    _check(
        isinstance(experts, list) and all(map(is_count, experts)),
        f"{where}.expert_idx must be a list of indices",
        experts,
    )
    for name in ("log_probability", "entropy", "latency_s"):
        value = getattr(token, name)
        _check(_is_number_or_null(value), f"{where}.{name} must be a number or null", value)
    choices = _expect(token.alternatives, list, f"{where}.alternatives")
    token.alternatives = [_alternative(choice, f"{where}.alternatives") for choice in choices]
    token.lens = _lens(token, where, header)
    return token


def _lens(token: TokenRecord, where: str, header: TraceHeader) -> list[list[Alternative]]:
    """Check the early exits of a token: none, or some candidates for each recursion that it took."""
    exits = token.lens
    taken = 0 if token.recursion_depth is None or not header.lens else max(1, token.recursion_depth)
    right = isinstance(exits, list) and all(
        isinstance(choices, list) and choices for choices in exits
    )
    rule = f"must be empty or {taken} lists of candidates, one a recursion that the token took"
    _check(right and len(exits) in (0, taken), f"{where}.lens {rule}", exits)
    return [[_alternative(choice, f"{where}.lens") for choice in choices] for choices in exits]


def _alternative(data: Any, where: str) -> Alternative:
    choice: Alternative = _fill(Alternative, _expect(data, dict, where), where)
    right = is_count(choice.token_id) and is_text(choice.text) and is_number(choice.probability)
    _check(right, f"{where} must hold token_id, text and probability", data)
    return choice


def _step(data: Any, place: int, header: TraceHeader) -> StepRecord:
    where = f"steps[{place}]"
    step: StepRecord = _fill(StepRecord, _expect(data, dict, where), where)
    _check(
        step.phase in ("prefill", "decode"), f"{where}.phase must be prefill or decode", step.phase
    )
    for name in ("first_position", "num_tokens", "active_flops"):
        value = getattr(step, name)
        _check(is_count(value), f"{where}.{name} must be a count", value)
    dense = step.dense_flops
    _check(dense is None or is_count(dense), f"{where}.dense_flops must be null or a count", dense)
    _check(is_number(step.latency_s), f"{where}.latency_s must be seconds", step.latency_s)
    for name in ("cache_entries", "cache_bytes"):
        values = getattr(step, name)
        right = isinstance(values, list) and len(values) == len(header.cache_slots)
        _check(
            right and all(map(is_count, values)),
            f"{where}.{name} must be one count a slot",
            values,
        )
    return step


def _check(holds: bool, rule: str, value: Any) -> None:
    if not holds:
        raise TraceError(f"{rule}, got {shorten(value)}")


def _is_number_or_null(value: Any) -> bool:
    return value is None or is_number(value)


def _is_hex(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        bytes.fromhex(value)
    except ValueError:
        return False
    return True
