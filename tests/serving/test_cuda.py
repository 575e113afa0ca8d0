"""The same code on a GPU: every member computes what it does on the CPU, trains, and writes with few waits.

Skipped where there is none.
"""

import warnings

import pytest
import torch

from mor_core import collect_trace, generate_with_trace
from mor_core.benchmarks.requests import Batch
from mor_core.checkpoints.checkpoint import load_checkpoint
from mor_core.evaluation.evaluation import evaluate
from mor_core.serving.engine import Engine
from mor_core.training.corpus import read_documents
from tests.greedy import Greedy, check_against_recomputation, drive
from tests.models import ROUTED, RULES, UNROUTED, UPDATED, pairs, tiny_model, token_ids
from tests.tiny_run import STEPS, run
from tests.training.test_training_family import MEMBERS, MORE_MEMBERS, log_of, set_member

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

FAMILY = ROUTED | UNROUTED
CAUSAL_RULES = {name: rule for name, rule in RULES.items() if not rule.sees_future}
CLOSE = {"atol": 1e-4, "rtol": 0}  # float32 on both; sums are taken in another order


@pytest.fixture(scope="module")
def loaded(tiny_checkpoint):
    return load_checkpoint(tiny_checkpoint, device="cuda")


@pytest.mark.parametrize(("fields", "rule"), pairs(FAMILY | UPDATED, RULES, with_draws=False))
def test_a_call_equals_the_cpus(fields, rule):
    ids = token_ids(3, 24)
    with torch.no_grad():
        expected = tiny_model(**fields)(ids, routing=rule)
        found = tiny_model(**fields).cuda()(ids.cuda(), routing=rule)
    assert torch.equal(found.recursion_trace.depth().cpu(), expected.recursion_trace.depth())
    torch.testing.assert_close(found.logits.cpu(), expected.logits, **CLOSE)


@pytest.mark.parametrize(("fields", "rule"), pairs(FAMILY, CAUSAL_RULES))
def test_requests_together_equal_recomputation_alone(fields, rule):
    model = tiny_model(**fields).cuda()
    requests = [Greedy(length, rule=rule, new=6, seed=length) for length in (5, 9, 3)]
    drive(Engine(model), *requests, num_slots=2)
    for request in requests:
        check_against_recomputation(model, request, CLOSE["atol"])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["default", "shared keys", "token choice", "vanilla", "switch"])
def test_half_precision_writes_too(name, dtype):
    model = tiny_model(**FAMILY[name]).to("cuda", dtype)
    requests = [Greedy(length, new=6, seed=length) for length in (5, 9)]
    drive(Engine(model), *requests, num_slots=2)
    for request in requests:
        assert len(request.chosen) == 6
        assert all(logits.isfinite().all() for logits in request.logits)
        assert request.processed[-1].cache_bytes[0] == request.processed[-1].cache_entries[0] * (
            2 * model.config.num_key_value_heads * model.config.attention_head_dim * 2
        )


def test_a_traced_run_equals_the_cpus(loaded, tiny_loaded):
    one, other = (
        collect_trace(
            generate_with_trace(model, "Once upon a time", max_new_tokens=20, temperature=0)
        )
        for model in (loaded, tiny_loaded)
    )
    assert [token.token_id for token in one.tokens] == [token.token_id for token in other.tokens]
    for mine, theirs in zip(one.tokens, other.tokens, strict=True):
        assert mine.recursion_depth == theirs.recursion_depth
        assert mine.router_scores == pytest.approx(theirs.router_scores, abs=1e-4)


def test_an_evaluation_equals_the_cpus(loaded, tiny_loaded, workspace):
    documents = read_documents(workspace / "valid.txt")
    one, other = (evaluate(model, documents, RULES["causal"]) for model in (loaded, tiny_loaded))
    assert one.nll_nats == pytest.approx(other.nll_nats, rel=1e-4)
    assert one.token_depths == other.token_depths


@pytest.mark.parametrize("name", ["default", "shared keys", "token choice", "vanilla"])
def test_a_lone_token_waits_for_the_gpu_once_a_recursion_at_most(name):
    """Whether it goes on must be known on the host, which then launches the block, and at last the token itself."""
    model = tiny_model(**FAMILY[name]).cuda()
    request = Greedy(5, new=30)
    batch = Batch(Engine(model), [request], 1)
    for _ in range(40):  # prefill and first tokens
        batch.step()
    before = len(request.processed)
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as waits:
            warnings.simplefilter("always")
            while len(request.processed) < before + 5:
                batch.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    count = sum("synchroniz" in str(wait.message) for wait in waits) / 5
    depths = [processed.depths[0] for processed in request.processed[before:]]
    routed = model.config.num_recursions if model.config.has_router else 0
    assert count <= routed + 2, (count, depths)


@pytest.mark.parametrize("name", [*MEMBERS, *MORE_MEMBERS])
def test_a_member_trains_and_its_checkpoint_loads_on_the_cpu(workspace, name):
    set_member(workspace, (MEMBERS | MORE_MEMBERS)[name])
    run(workspace, "runs", stop_after_steps=6)
    folder = run(workspace, "runs", resume=True)
    log = log_of(workspace)
    assert len(log) == STEPS
    assert log[-1]["loss"]["lm"] < log[0]["loss"]["lm"]
    assert log[-1]["peak_memory_bytes"] < 2**30
    model = load_checkpoint(folder).model
    assert model.device.type == "cpu"
    assert all(weight.isfinite().all() for weight in model.parameters())
