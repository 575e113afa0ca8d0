"""The engine: batched by recursion, with requests that join and leave, gives each request what it would get alone."""

import pytest
import torch

from mor_core import RoutingRule
from mor_core.benchmarks.requests import Batch, submitted
from mor_core.model.accounting import DecodeFlops, active_flops, dense_flops
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
    drive(Engine(model), *requests, num_slots=2)
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
            assert processed.router_logits == [pytest.approx(known, abs=1e-4)]
    model, request = tiny_model(**FAMILY["recursive switch"]), Greedy(5)
    drive(Engine(model), request)
    with torch.no_grad():
        whole = model(torch.tensor([[*request.ids, *request.chosen]]))
    expected = whole.expert_log.choices()[0, len(request.ids) :].tolist()
    assert [own for processed in request.processed for own in processed.experts] == expected


def test_requests_with_different_rules_share_the_block():
    model = tiny_model()
    rules = [RoutingRule.fixed(3), RoutingRule.fixed(1, gate="open"), RoutingRule.causal(0.3)]
    requests = [Greedy(4, rule=rule, new=10, seed=seed) for seed, rule in enumerate(rules)]
    engine = Engine(model)
    drive(engine, *requests)
    for request in requests:
        check_against_recomputation(model, request)
    runs, tokens = engine.counters.block
    assert tokens > runs  # tokens of different requests, at different recursions, went together


def test_a_prefill_has_the_results_of_single_steps():
    """Prefill and decode are recorded alike, so they must describe a token alike."""
    for fields in ({}, FAMILY["token choice"], FAMILY["recursive switch"], FAMILY["vanilla"]):
        model, request = tiny_model(**fields), Greedy(5)
        drive(Engine(model), request)
        engine = Engine(model)
        ids = [*request.ids, *request.chosen[:-1]]
        engine.submit(ids, request.rule, 1, wants_prompt_logits=True)
        (state,) = engine.step()
        whole, steps = state.result(), request.processed[: len(request.chosen) - 1]
        before = len(request.ids)
        assert whole.first_position == 0
        for position, step in enumerate(steps, start=before):
            assert step.first_position == position
            for name in ("depths", "experts", "cached_slots"):
                assert getattr(step, name) == [getattr(whole, name)[position]], name
            assert step.router_logits[0] == pytest.approx(whole.router_logits[position], abs=1e-4)
            torch.testing.assert_close(step.logits[0], whole.logits[position], atol=1e-5, rtol=0)
        assert steps[-1].cache_entries == whole.cache_entries
        assert steps[-1].cache_bytes == whole.cache_bytes


def test_requests_join_and_leave_at_any_step():
    model = tiny_model()
    requests = [
        Greedy(length, new=new, seed=length) for length, new in ((6, 3), (4, 9), (9, 1), (5, 7))
    ]
    engine, running = Engine(model), {}
    for number in range(60):
        if number in (0, 2, 3, 7):
            request = requests[(0, 2, 3, 7).index(number)]
            running[submitted(engine, request)] = request
        for state in engine.step():
            chosen = running[state].take(state.result())
            engine.end(state) if chosen is None else engine.take_token(state, chosen)
    assert engine.is_idle
    for request in requests:
        check_against_recomputation(model, request)


def test_a_batch_has_at_most_as_many_running_requests_as_slots():
    engine = Engine(tiny_model())
    batch = Batch(engine, [Greedy(4, new=3, seed=seed) for seed in range(4)], num_slots=2)
    counts = set()
    for _ in range(60):
        batch.step()
        counts.add(len(engine.requests))
    assert max(counts) == 2
    assert engine.is_idle


def test_a_request_with_a_cache_of_its_own_needs_no_prefill():
    model, prompt = tiny_model(), Greedy(7, new=1)
    engine = Engine(model)
    state = submitted(engine, prompt)
    engine.step()
    late, kept = Greedy(7, new=6), state.stores
    chosen = late.take(state.result())

    def resume(engine, request):
        return engine.submit([*request.ids, chosen], request.rule, 6, stores=kept)

    Batch(engine, [late], 1, resume).run()
    check_against_recomputation(model, late)


def test_an_ended_request_frees_its_memory_at_once():
    engine = Engine(tiny_model())
    first, second = (submitted(engine, Greedy(length, new=50)) for length in (5, 6))
    engine.end(second)  # before its prefill
    (state,) = engine.step()
    assert state is first
    engine.take_token(first, 1)
    engine.step()
    assert engine.requests == [first]
    assert first.stores
    engine.end(first)
    assert first.stores == []
    assert engine.is_idle
    assert engine.step() == []


def test_a_step_moves_no_cache_but_once_in_a_chunk():
    model = tiny_model(max_position_embeddings=256)
    engine, request = Engine(model), Greedy(5, new=150)
    state = engine.submit(request.ids, request.rule, 1)  # no room is planned for what follows
    engine.step()
    moved = 0
    addresses = [store.memory.data_ptr() for store in state.stores]
    while (chosen := request.take(state.result())) is not None:
        engine.take_token(state, chosen)
        through = []
        while not through:
            lengths = [store.length for store in state.stores]
            through = engine.step()
            for slot, store in enumerate(state.stores):
                if store.memory.data_ptr() != addresses[slot]:
                    assert lengths[slot] % CHUNK == 0
                    moved += 1
                    addresses[slot] = store.memory.data_ptr()
    assert 2 <= moved <= 2 * 8
    check_against_recomputation(model, request)


def test_a_failed_prefill_ends_its_own_request_alone(monkeypatch):
    model = tiny_model()
    forward = type(model).forward

    def scarce(self, input_ids=None, **options):
        if input_ids is not None and input_ids.shape[1] == 7:
            raise torch.OutOfMemoryError("no memory for seven tokens")
        return forward(self, input_ids, **options)

    monkeypatch.setattr(type(model), "forward", scarce)
    unlucky, lucky = Greedy(7), Greedy(5)
    engine = Engine(model)
    refused, served = submitted(engine, unlucky), submitted(engine, lucky)
    assert engine.step() == [refused, served]
    with pytest.raises(torch.OutOfMemoryError, match="seven tokens"):
        refused.result()
    assert engine.is_idle  # until the other's token is taken up
    engine.take_token(served, lucky.take(served.result()))
    serve_on(engine, served, lucky)
    monkeypatch.undo()
    check_against_recomputation(model, lucky)


def serve_on(engine, state, request):
    """Serve a request, which has a token under way, to its end."""
    while not engine.is_idle:
        for through in engine.step():
            assert through is state
            chosen = request.take(state.result())
            engine.end(state) if chosen is None else engine.take_token(state, chosen)


def test_a_failed_stage_ends_those_in_it_and_the_others_go_on(monkeypatch):
    model = tiny_model()
    engine, unlucky, lucky = Engine(model), Greedy(4), Greedy(5)
    state = submitted(engine, unlucky)
    engine.step()
    engine.take_token(state, unlucky.take(state.result()))

    def scarce(requests):
        raise torch.OutOfMemoryError("no memory for the block")

    monkeypatch.setattr(engine._runner, "recur", scarce)
    late = submitted(engine, lucky)
    assert engine.step() == [late, state]
    with pytest.raises(torch.OutOfMemoryError, match="the block"):
        state.result()
    assert state.stores == []
    monkeypatch.undo()
    engine.take_token(late, lucky.take(late.result()))
    serve_on(engine, late, lucky)
    check_against_recomputation(model, lucky)


def test_what_needs_the_future_or_forgets_is_refused():
    with pytest.raises(ValueError, match="recompute"):
        submitted(Engine(tiny_model()), Greedy(4, rule=RoutingRule.top_k()))
    assert not can_follow(tiny_model(**UPDATED["updated keys"]), RoutingRule.causal())


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
