"""The modules of a decode step, eager and compiled ahead of time, compute what the model does."""

import json

import pytest
import torch

from app.runs import jobs
from mor_core.serving import aot_compile
from mor_core.serving.aot_compile import CompiledModules, CompileError
from mor_core.serving.compiled_modules import RouterHead
from mor_core.serving.engine import Engine
from tests.greedy import Greedy, check_against_recomputation, drive
from tests.models import ROUTED, RULES, UNROUTED, tiny_model

FAMILY = {
    name: fields for name, fields in (ROUTED | UNROUTED).items() if "num_experts" not in fields
}


@pytest.fixture
def uncompiled(monkeypatch):
    """Run the parts as they are written, and count their calls."""
    calls = []

    def as_written(module, inputs, growing=None):
        def run(given):
            calls.append(module)
            for number, (one, example) in enumerate(zip(given, inputs, strict=True)):
                assert one.dtype == example.dtype
                assert one.is_contiguous()
                assert one.shape[number == growing :] == example.shape[number == growing :]
            made = module(*given)
            return made if isinstance(made, list) else [made]

        return run

    monkeypatch.setattr(aot_compile, "_compiled", as_written)
    return calls


@pytest.mark.parametrize("fields", FAMILY.values(), ids=FAMILY)
def test_the_parts_equal_recomputation(uncompiled, fields):
    model, request = tiny_model(**fields), Greedy(5)
    drive(Engine(model, compiled=CompiledModules(model)), request)
    check_against_recomputation(model, request)
    assert len(uncompiled) > len(request.processed)


@pytest.mark.parametrize(
    "name", ["causal", "thresholds", "fixed", "open", "random", "capped", "forced"]
)
def test_the_router_head_serves_every_rule(uncompiled, name):
    model, request = tiny_model(), Greedy(5, rule=RULES[name], new=12)
    drive(Engine(model, compiled=CompiledModules(model)), request)
    check_against_recomputation(model, request)
    scored = sum(len(processed.router_logits[0]) for processed in request.processed)
    assert [type(module) for module in uncompiled].count(RouterHead) == scored > 0


def test_batched_requests_do_not_use_the_compiled_modules(uncompiled):
    model, requests = tiny_model(), [Greedy(4, rule=RULES["fixed"], seed=s) for s in (1, 2)]
    engine = Engine(model, compiled=CompiledModules(model))
    drive(engine, *requests)
    assert not uncompiled
    late = Greedy(4, rule=RULES["fixed"], new=12)
    drive(engine, Greedy(4, rule=RULES["fixed"], new=3), late)
    assert uncompiled  # since the other left
    for request in (*requests, late):
        check_against_recomputation(model, request)


def test_in_bfloat16_the_parts_round_as_the_layers_do(uncompiled):
    model = tiny_model().bfloat16()
    alone, batched = (Greedy(3, rule=RULES["fixed"], new=8) for _ in range(2))
    drive(Engine(model, compiled=CompiledModules(model)), alone)
    drive(Engine(model), batched)
    for ours, theirs in zip(alone.logits, batched.logits, strict=True):
        torch.testing.assert_close(ours, theirs, atol=0.05, rtol=0)


@pytest.mark.slow
def test_compiled_once_they_equal_recomputation(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    model, request = tiny_model(kv_strategy="shared"), Greedy(1, new=12)
    compiled = CompiledModules(model)
    assert len(list(tmp_path.glob("mor_core/*.pt2"))) == 5
    drive(Engine(model, compiled=compiled), request)
    check_against_recomputation(model, request)

    def refuse(*_):
        raise AssertionError("compiled again")

    monkeypatch.setattr(aot_compile, "_compile", refuse)
    CompiledModules(model)
    with pytest.raises(AssertionError, match="again"):
        CompiledModules(tiny_model(hidden_size=96))


@pytest.mark.slow
@pytest.mark.parametrize(("activation", "network"), [("none", "linear"), ("tanh", "mlp")])
@torch.no_grad()
def test_a_compiled_router_head_says_what_the_router_says(
    monkeypatch, tmp_path, activation, network
):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    model = tiny_model(router_activation=activation, router_network=network, router_temperature=2.0)
    router, state = model.model.routers[1], torch.randn(1, model.config.hidden_size)
    inputs = [state, *router.matrices()]
    head = RouterHead(router.activation, router.alpha, router.temperature)
    logit, gate = aot_compile._compiled(head, inputs)(inputs)
    torch.testing.assert_close(logit, router(state))
    torch.testing.assert_close(gate, router.gate(router(state), "learned")[:, None])


def test_it_reports_each_module_only_when_it_compiles_it(monkeypatch, tmp_path, caplog):
    def compile_nothing(_module, _inputs, _growing, path):
        path.parent.mkdir(exist_ok=True)
        path.touch()

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(aot_compile, "_compile", compile_nothing)
    monkeypatch.setattr(aot_compile, "_loaded", lambda _path: None)
    CompiledModules(tiny_model())
    said = [record.getMessage().split(" for ")[0] for record in caplog.records]
    assert said == [
        f"compiling {part}" for part in ("QKVProjection", "AttentionMLP", "LMHead", "RouterHead")
    ]
    caplog.clear()
    CompiledModules(tiny_model())
    assert not caplog.records


def test_what_cannot_be_compiled_is_refused():
    with pytest.raises(CompileError, match="num_experts must be 1 to compile, got 4"):
        CompiledModules(tiny_model(**UNROUTED["switch"]))
    with pytest.raises(CompileError, match="device must be cpu to compile, got meta"):
        CompiledModules(tiny_model().to("meta"))


def test_without_a_compiler_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("no-such-compiler",))
    with pytest.raises(CompileError, match=r"needs a C\+\+ compiler that works.*install g\+\+"):
        CompiledModules(tiny_model())
    assert not list(tmp_path.glob("mor_core/*.pt2"))


def test_the_command_compiles_on_request(uncompiled, mor):
    options = (
        "generate",
        "--prompt",
        "Once upon a time",
        "--max-new-tokens",
        6,
        "--temperature",
        0,
        "--json",
    )
    usual = json.loads(mor(*options)[1])
    assert not uncompiled
    compiled = json.loads(mor(*options, "--compile")[1])
    assert uncompiled
    assert compiled["text"] == usual["text"]


def test_the_app_compiles_what_it_can_on_request(uncompiled, monkeypatch):
    monkeypatch.delenv("MOR_COMPILE", raising=False)
    assert jobs.compiled_modules(tiny_model()) is None
    monkeypatch.setenv("MOR_COMPILE", "1")
    assert isinstance(jobs.compiled_modules(tiny_model()), CompiledModules)
    assert jobs.compiled_modules(tiny_model(**UNROUTED["switch"])) is None
