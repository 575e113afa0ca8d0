"""Traced generation: the same tokens as `generate()`, and records that a recomputation confirms."""

import dataclasses
import json
import math

import pytest
import torch

from mor_core import RoutingRule, analyse_text, collect_trace, generate_with_trace
from mor_core.checkpoints.tokenizer import encode_text
from mor_core.generation import generation
from mor_core.generation.generation import PromptError, dispatch, submit
from mor_core.generation.generation_run import Run, Sampling
from mor_core.model.accounting import active_flops, dense_flops, kv_bytes_per_entry
from mor_core.serving.engine import Engine
from mor_core.serving.model_runner import ModelRunner
from mor_core.traces.trace_file import trace_to_dict
from mor_core.traces.trace_updates import TraceBuilder
from mor_core.traces.windows import split_windows
from tests.conftest import STORY
from tests.models import tiny_model

PROMPT = "Once upon a time"


def run(loaded, prompt=PROMPT, **options):
    return collect_trace(generate_with_trace(loaded, prompt, **options))


def ids_of(trace):
    return [token.token_id for token in trace.tokens]


@torch.no_grad()
def recompute(loaded, trace, **options):
    return loaded.model(torch.tensor([ids_of(trace)]), **options)


def test_greedy_run_equals_generate(tiny_loaded):
    trace = run(tiny_loaded, max_new_tokens=20, temperature=0)
    prompt = [0, *encode_text(tiny_loaded.tokenizer, PROMPT)]
    expected = tiny_loaded.model.generate(
        torch.tensor([prompt]), max_new_tokens=20, do_sample=False
    )[0].tolist()
    assert ids_of(trace) == expected


def test_one_update_a_new_token_and_only_the_newest_has_no_depth(tiny_loaded):
    updates = list(generate_with_trace(tiny_loaded, PROMPT, max_new_tokens=6))
    assert len(updates) == 6
    assert all(update.newest is not None for update in updates)
    assert [update.finish_reason for update in updates[:-1]] == [None] * 5
    trace = run(tiny_loaded, max_new_tokens=6)
    assert [token.recursion_depth is None for token in trace.tokens].count(True) == 1
    newest = trace.tokens[-1]
    assert newest.recursion_depth is None
    assert newest.router_scores == [None] * 3
    assert newest.log_probability is not None


def test_records_equal_a_recomputation(tiny_loaded):
    trace = run(tiny_loaded, max_new_tokens=20)
    whole = recompute(tiny_loaded, trace)
    depths = whole.recursion_trace.depth()[0].tolist()
    logits = whole.recursion_trace.router_logits()[0].tolist()
    log_probs = whole.logits[0].log_softmax(-1)
    for place, token in enumerate(trace.tokens[:-1]):
        assert token.recursion_depth == depths[place]
        for ours, theirs in zip(token.router_logits, logits[place], strict=True):
            assert (ours is None) == math.isnan(theirs)
            assert ours is None or ours == pytest.approx(theirs, abs=1e-4)
    for before, token in enumerate(trace.tokens[1:]):
        row = log_probs[before]
        assert token.log_probability == pytest.approx(row[token.token_id].item(), abs=1e-4)
        assert token.entropy == pytest.approx(-(row.exp() * row).sum().item(), abs=1e-4)
        best = row.topk(5)
        assert [choice.token_id for choice in token.alternatives] == best.indices.tolist()


def test_cache_records_follow_the_depth_and_the_tensors(tiny_loaded):
    trace = run(tiny_loaded, max_new_tokens=15)
    for token in trace.tokens[:-1]:
        shared = range(1, 1 + 2 * token.recursion_depth)
        assert token.cached_slots == [0, *shared, 7]
    assert trace.tokens[-1].cached_slots == []
    entry = kv_bytes_per_entry(tiny_loaded.model.config, 4)
    last = trace.steps[-1]
    for slot, entries in enumerate(last.cache_entries):
        assert entries == sum(slot in token.cached_slots for token in trace.tokens)
        assert last.cache_bytes[slot] == entries * entry
    assert trace.header.kv_bytes_per_entry == entry
    assert trace.header.vanilla_kv_bytes == 8 * entry * (len(trace.tokens) - 1)


def test_flops_are_those_of_the_calls(tiny_loaded):
    trace = run(tiny_loaded, max_new_tokens=6)
    config = tiny_loaded.model.config
    prefill = trace.steps[0].num_tokens
    counts = [sum(token.recursion_depth > r for token in trace.tokens[:prefill]) for r in range(3)]
    assert trace.steps[0].active_flops == active_flops(config, prefill, counts)
    full = dense_flops(config, prefill)
    for step in trace.steps[1:]:
        own = [int(trace.tokens[step.first_position].recursion_depth > r) for r in range(3)]
        past = step.first_position
        assert step.active_flops == active_flops(
            config, 1, own, past_tokens=past, past_counts=counts
        )
        full += dense_flops(config, 1, past_tokens=past)
        counts = [old + new for old, new in zip(counts, own, strict=True)]
    assert trace.header.full_depth_flops == full


def test_an_auxiliary_routers_scores_are_its_own_under_every_rule(tiny_loaded):
    model = tiny_model(
        vocab_size=tiny_loaded.model.config.vocab_size,
        router_supervision="aux_router",
        router_activation="tanh",
    )
    loaded, rule = dataclasses.replace(tiny_loaded, model=model), RoutingRule.fixed(2)
    fast = run(loaded, max_new_tokens=4, routing=rule)
    slow = Run(loaded, PROMPT, Sampling(max_new_tokens=4), rule, lambda: False)
    for ours, other in zip(
        fast.tokens, collect_trace(generation.recompute(slow)).tokens, strict=True
    ):
        assert ours.router_scores == pytest.approx(other.router_scores, abs=1e-5)


@pytest.mark.parametrize("rule", [RoutingRule.causal(), RoutingRule.random(4)])
def test_the_engine_writes_the_trace_of_recomputation(tiny_loaded, rule):
    sampling = Sampling(max_new_tokens=20, temperature=0.8, seed=3)
    slow = Run(tiny_loaded, PROMPT, sampling, rule, lambda: False)
    slow_trace = collect_trace(generation.recompute(slow))
    fast_trace = run(tiny_loaded, max_new_tokens=20, temperature=0.8, seed=3, routing=rule)
    assert ids_of(fast_trace) == ids_of(slow_trace)
    for fast, slow in zip(fast_trace.tokens, slow_trace.tokens, strict=True):
        assert fast.recursion_depth == slow.recursion_depth
        assert fast.cached_slots == slow.cached_slots
        assert fast.router_scores == pytest.approx(slow.router_scores, abs=1e-5)
        assert fast.entropy == pytest.approx(slow.entropy, abs=1e-4)
    for fast, slow in zip(fast_trace.steps, slow_trace.steps, strict=True):
        assert fast.active_flops == slow.active_flops
        assert fast.dense_flops == slow.dense_flops
        assert fast.cache_bytes == slow.cache_bytes
    assert fast_trace.header.vanilla_kv_bytes == slow_trace.header.vanilla_kv_bytes


def test_runs_that_share_an_engine_do_not_mix(tiny_loaded):
    engine = Engine(tiny_loaded.model)
    prompts = ["Once upon a time", "The old king", "A rabbit ran"]
    runs, builders = {}, {}
    for seed, prompt in enumerate(prompts):
        sampling = Sampling(12, 0.9, None, seed)
        one = Run(tiny_loaded, prompt, sampling, RoutingRule.causal(), lambda: False)
        request = submit(engine, one)
        runs[request], builders[request] = one, TraceBuilder()
    while not engine.is_idle:
        for request in engine.step():
            builders[request].take(dispatch(engine, request, runs[request]))
    for seed, (prompt, builder) in enumerate(zip(prompts, builders.values(), strict=True)):
        alone = run(tiny_loaded, prompt, max_new_tokens=12, temperature=0.9, seed=seed)
        together = builder.close()
        assert ids_of(together) == ids_of(alone)
        assert [t.recursion_depth for t in together.tokens] == [
            t.recursion_depth for t in alone.tokens
        ]


def test_a_model_call_that_fails_reaches_the_caller(tiny_loaded, monkeypatch):
    def scarce(self, requests):
        raise RuntimeError("no memory for the block")

    updates = generate_with_trace(tiny_loaded, PROMPT, max_new_tokens=5)
    assert next(updates).completed
    monkeypatch.setattr(ModelRunner, "recur", scarce)
    with pytest.raises(RuntimeError, match="no memory for the block"):
        next(updates)


def test_seed_decides_the_text(tiny_loaded):
    texts = [ids_of(run(tiny_loaded, max_new_tokens=20, seed=seed)) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_top_k_of_one_is_greedy(tiny_loaded):
    greedy = run(tiny_loaded, max_new_tokens=10, temperature=0)
    assert ids_of(run(tiny_loaded, max_new_tokens=10, top_k=1, seed=5)) == ids_of(greedy)


def test_run_ends_at_the_context(tiny_loaded):
    trace = run(tiny_loaded, max_new_tokens=500, temperature=0)
    assert trace.header.finish_reason in ("context_full", "stop_token")
    assert len(trace.tokens) <= 64
    if trace.header.finish_reason == "context_full":
        assert len(trace.tokens) == 64


def test_run_stops_between_tokens_on_request(tiny_loaded):
    answers = iter([False, False, True])
    trace = run(tiny_loaded, max_new_tokens=50, should_stop=lambda: next(answers))
    assert trace.header.finish_reason == "cancelled"
    assert len(trace.steps) == 3


def test_run_ends_at_a_stop_token(tiny_loaded, monkeypatch):
    first = run(tiny_loaded, max_new_tokens=3, temperature=0).tokens[-1].token_id
    monkeypatch.setattr(tiny_loaded.model.config, "eos_token_id", first)
    trace = run(tiny_loaded, max_new_tokens=30, temperature=0)
    assert trace.header.finish_reason == "stop_token"
    assert trace.tokens[-1].token_id == first


@pytest.mark.parametrize("prompt", ["", "  \n", "a" * 100_000, "word " * 100])
def test_prompt_that_cannot_run_is_refused_at_once(tiny_loaded, prompt):
    with pytest.raises(PromptError, match="must"):
        generate_with_trace(tiny_loaded, prompt)


@pytest.mark.parametrize(
    "options",
    [{"max_new_tokens": 0}, {"temperature": -1}, {"top_k": 0}, {"routing": RoutingRule.fixed(4)}],
)
def test_setting_out_of_range_is_refused_at_once(tiny_loaded, options):
    with pytest.raises(ValueError, match=r"at least|at most|between"):
        generate_with_trace(tiny_loaded, PROMPT, **options)


@pytest.mark.parametrize("prompt", ["<|endoftext|>", "<script>x</script>", "\x00\x1b[31m", "é漢🦊"])
def test_any_text_is_ordinary_text(tiny_loaded, prompt):
    trace = run(tiny_loaded, prompt, max_new_tokens=2)
    typed = [token for token in trace.tokens if token.phase == "prefill" and not token.special]
    assert bytes.fromhex("".join(token.token_bytes for token in typed)).decode() == prompt
    assert [token.special for token in trace.tokens].count(True) == 1
    json.dumps(trace_to_dict(trace), allow_nan=False)


def test_top_k_rule_recomputes_the_prefix_and_keeps_nothing(tiny_loaded):
    trace = run(tiny_loaded, max_new_tokens=5, routing=RoutingRule.top_k(), temperature=0)
    assert trace.header.routing == {"name": "top_k", "gate": "learned"}
    assert all(not any(step.cache_entries) for step in trace.steps)
    ids = ids_of(trace)
    for place in range(len(ids) - 4, len(ids)):
        with torch.no_grad():
            out = tiny_loaded.model(torch.tensor([ids[:place]]), routing=RoutingRule.top_k())
        assert int(out.logits[0, -1].argmax()) == ids[place]


def test_fixed_rule_is_named_and_obeyed(tiny_loaded):
    trace = run(tiny_loaded, max_new_tokens=5, routing=RoutingRule.fixed(2, gate="open"))
    assert trace.header.routing == {"name": "fixed", "gate": "open", "depth": 2}
    assert {token.recursion_depth for token in trace.tokens[:-1]} == {2}


def test_reading_a_short_text_equals_a_prefill(tiny_loaded):
    read = collect_trace(analyse_text(tiny_loaded, PROMPT))
    prefill = run(tiny_loaded, max_new_tokens=1).tokens[:-1]
    assert [vars(token) for token in read.tokens] == [vars(token) for token in prefill]
    assert read.header.windows == []


def test_long_text_is_read_in_windows_each_token_once(tiny_loaded):
    trace = collect_trace(analyse_text(tiny_loaded, STORY))
    ids = [0, *encode_text(tiny_loaded.tokenizer, STORY)]
    assert ids_of(trace) == ids
    assert len(trace.header.windows) > 2
    start, end = trace.header.windows[1]
    with torch.no_grad():
        out = tiny_loaded.model(torch.tensor([ids[start:end]]))
    depths = out.recursion_trace.depth()[0].tolist()
    scored = trace.tokens[64:end]
    assert [token.recursion_depth for token in scored] == depths[64 - start :]


@pytest.mark.parametrize(("count", "length"), [(1, 8), (8, 8), (9, 8), (50, 8), (17, 1), (23, 7)])
def test_windows_cover_every_position_once(count, length):
    windows = split_windows(count, length)
    scored = [place for w in windows for place in range(w.first_new, w.end)]
    assert scored == list(range(count))
    assert all(w.end - w.start <= length and w.start <= w.first_new for w in windows)
