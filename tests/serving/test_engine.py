"""The engine: batched, depth-wise, joining and leaving, every request gets what it would get alone."""

import pytest
import torch

from mor_core import RoutingRule
from mor_core.model.accounting import DecodeFlops, active_flops, dense_flops, kv_bytes_per_entry
from mor_core.serving.engine import Engine, can_follow
from mor_core.serving.request_kv_cache import CHUNK
from tests.greedy import Greedy, check_against_recomputation, drive
from tests.models import (
    ROUTED,
    RULES,
    UNROUTED,
    UPDATED,
    pairs,
    tiny_config,
    tiny_model,
)

FAMILY = ROUTED | UNROUTED
CAUSAL_RULES = {name: rule for name, rule in RULES.items() if not rule.sees_future}


@pytest.mark.parametrize(("fields", "rule"), pairs(FAMILY, CAUSAL_RULES))
def test_requests_together_equal_recomputation_alone(fields, rule):
    model = tiny_model(**fields)
    requests = [Greedy(length, rule=rule, new=6, seed=length) for length in (5, 9, 3)]
    drive(Engine(model, num_slots=2), *requests)
    for request in requests:
        check_against_recomputation(model, request)


def test_router_logits_and_experts_equal_recomputation():
    for fields in ({}, {"router_supervision": "aux_router"}, FAMILY["token choice"]):
        model, request = tiny_model(**fields), Greedy(5)
        drive(Engine(model), request)
        with torch.no_grad():
            whole = model(torch.tensor([[*request.ids, *request.chosen]]))
        expected = whole.recursion_trace.router_logits()[0, len(request.ids) :].tolist()
        for processed, row in zip(request.processed, expected, strict=True):
            known = [logit for logit in row if logit == logit]
            assert processed.router_logits == pytest.approx(known, abs=1e-4)
    model, request = tiny_model(**FAMILY["recursive switch"]), Greedy(5)
    drive(Engine(model), request)
    with torch.no_grad():
        whole = model(torch.tensor([[*request.ids, *request.chosen]]))
    expected = whole.expert_log.choices()[0, len(request.ids) :].tolist()
    assert [processed.experts for processed in request.processed] == expected


def test_requests_with_different_rules_share_the_block():
    model = tiny_model()
    rules = [RoutingRule.fixed(3), RoutingRule.fixed(1, gate="open"), RoutingRule.causal(0.3)]
    requests = [Greedy(4, rule=rule, new=10, seed=seed) for seed, rule in enumerate(rules)]
    engine = Engine(model, num_slots=3)
    drive(engine, *requests)
    for request in requests:
        check_against_recomputation(model, request)
    runs, tokens = engine.counters.block
    assert tokens > runs  # tokens of different requests, at different recursions, went together


def test_requests_join_and_leave_at_any_step():
    model = tiny_model()
    requests = [
        Greedy(length, new=new, seed=length) for length, new in ((6, 3), (4, 9), (9, 1), (5, 7))
    ]
    engine = Engine(model, num_slots=2)
    engine.submit(requests[0])
    for number in range(60):
        if number in (2, 3, 7):
            engine.submit(requests[(2, 3, 7).index(number) + 1])
        engine.step()
        assert len(engine.flights) <= 2
    assert engine.is_idle
    for request in requests:
        check_against_recomputation(model, request)


def test_a_cancelled_request_frees_its_slot_and_memory_within_a_step():
    engine = Engine(tiny_model(), num_slots=1)
    first, second = engine.submit(Greedy(5, new=50)), engine.submit(Greedy(6, new=50))
    for _ in range(4):
        engine.step()
    assert engine.flights == [first]
    engine.cancel(first)
    engine.step()
    assert engine.flights == [second]
    engine.cancel(second)
    assert engine.kv_bytes == 0
    assert engine.is_idle


def test_memory_stays_in_the_budget_and_who_waited_again_gets_the_same():
    model = tiny_model(max_position_embeddings=256)
    config = model.config
    entry = kv_bytes_per_entry(config, 4)
    # Every token is made to take every recursion, which the plan, by the trained shares, does not expect.
    deepest = RoutingRule.fixed(3)
    requests = [Greedy(20, rule=deepest, new=60, seed=seed) for seed in range(3)]
    budget = 26 * CHUNK * entry  # two requests are planned to take 12 chunks each, and grow to 16
    engine = Engine(model, num_slots=3, kv_budget_bytes=budget)
    for request in requests:
        engine.submit(request)
    most = 0
    while not engine.is_idle:
        engine.step()
        most = max(most, engine.kv_bytes)
    assert most <= budget
    assert 0 < engine.counters.preempted <= 3, (
        "who outgrew the plan waits until there is room for what it had"
    )
    for request in requests:
        assert len(request.processed) == 60
        check_against_recomputation(model, request)


def test_a_step_moves_no_cache_but_once_in_a_chunk():
    model = tiny_model(max_position_embeddings=256)
    engine, request = Engine(model), Greedy(5, new=150)
    request.max_new_tokens = 1  # no room is planned for what follows
    flight = engine.submit(request)
    engine.step()
    request.max_new_tokens = 150
    moved = 0
    addresses = [store.memory.data_ptr() for store in flight.stores]
    while not engine.is_idle:
        lengths = [store.length for store in flight.stores]
        engine.step()
        for slot, store in enumerate(flight.stores):
            if store.memory.data_ptr() != addresses[slot]:
                assert lengths[slot] % CHUNK == 0
                moved += 1
                addresses[slot] = store.memory.data_ptr()
    assert 2 <= moved <= 2 * 8
    check_against_recomputation(model, request)


def test_a_failed_prefill_ends_its_own_request_alone(monkeypatch):
    model = tiny_model()
    engine = Engine(model, num_slots=2)
    forward = type(model).forward

    def scarce(self, input_ids=None, **options):
        if input_ids is not None and input_ids.shape[1] == 7:
            raise torch.OutOfMemoryError("no memory for seven tokens")
        return forward(self, input_ids, **options)

    monkeypatch.setattr(type(model), "forward", scarce)
    unlucky, lucky = Greedy(7), Greedy(5)
    flight = engine.submit(unlucky)
    drive(engine, lucky)
    with pytest.raises(torch.OutOfMemoryError, match="seven tokens"):
        engine.check_flight(flight)
    monkeypatch.undo()
    check_against_recomputation(model, lucky)


def test_a_failed_step_ends_those_under_way_and_the_next_are_served(monkeypatch):
    model = tiny_model()
    engine = Engine(model, num_slots=1)
    flight, waiting = engine.submit(Greedy(4)), Greedy(5)
    engine.submit(waiting)
    engine.step()

    def scarce(flights):
        raise torch.OutOfMemoryError("no memory for the block")

    monkeypatch.setattr(engine._stretches, "recur", scarce)
    while flight.failure is None:
        engine.step()
    monkeypatch.undo()
    drive(engine)
    check_against_recomputation(model, waiting)


def test_what_needs_the_future_or_forgets_is_refused():
    with pytest.raises(ValueError, match="recompute"):
        Engine(tiny_model()).submit(Greedy(4, rule=RoutingRule.top_k()))
    assert not can_follow(tiny_model(**UPDATED["updated keys"]), RoutingRule.causal())
    with pytest.raises(ValueError, match="num_slots"):
        Engine(tiny_model(), num_slots=0)
    with pytest.raises(ValueError, match="kv_budget_bytes"):
        Engine(tiny_model(), kv_budget_bytes=0)


@pytest.mark.parametrize("fields", FAMILY.values(), ids=FAMILY)
def test_decode_flops_equal_the_closed_form(fields):
    config = tiny_config(**fields)
    recursions = config.num_recursions
    flops = DecodeFlops(config)
    past, counts = 11, [11, 7, 4][:recursions]
    assert flops.dense(past) == dense_flops(config, 1, past_tokens=past)
    for depth in range(recursions + 1) if config.has_router else [recursions]:
        own = [int(index < depth) for index in range(recursions)]
        if not config.has_router:
            counts = [past] * recursions
        expected = active_flops(config, 1, own, past_tokens=past, past_counts=counts)
        assert flops.active(depth, past, counts) == expected
