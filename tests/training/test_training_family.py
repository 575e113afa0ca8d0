"""Every family member trains and resumes; losses, balancing, capacities and FLOPs of each router type."""

import math

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mor_core.checkpoints.checkpoint import load_checkpoint
from mor_core.model.accounting import dropped_flops, training_flops
from mor_core.model.routing_rules import RoutingRule
from mor_core.training.optim import AUX_ROUTER_RATE, make_optimiser, set_rate
from mor_core.training.recipe import (
    OptimiserSection,
    RecipeError,
    load_recipe,
    parse_recipe,
    recipe_text,
)
from mor_core.training.run_state import load_state, read_log
from mor_core.training.training_schedule import (
    OWN,
    SEPARATION,
    SKILL,
    CapacitySchedule,
    make_schedule,
)
from tests.models import ROUTED, TOKEN_CHOICE, UNROUTED, UPDATED, tiny_model, token_ids
from tests.tiny_run import SECTIONS, assert_same_run, run

MEMBERS = {
    "aux router": ROUTED["aux router"],
    "updated keys": UPDATED["updated keys"],
    "own attention": ROUTED["own attention"],
    "token choice, loss-free": ROUTED["token choice, loss-free"],
    "switch": UNROUTED["switch"],
}
MORE_MEMBERS = {
    "vanilla": UNROUTED["vanilla"],
    "recursive": UNROUTED["recursive"],
    "shared keys": ROUTED["shared keys"],
    "random selection": ROUTED["random selection"],
    "token choice": TOKEN_CHOICE,
    "token choice, random": ROUTED["token choice, random"],
}


def set_member(workspace, fields, **sections):
    """Rewrite the recipe of `workspace` for another model."""
    changed = {**SECTIONS, "model": {**SECTIONS["model"], **fields}}
    for name, values in sections.items():
        changed[name] = {**changed.get(name, {}), **values}
    (workspace / "tiny.toml").write_text(recipe_text(parse_recipe(changed)), encoding="utf-8")
    return workspace


def log_of(workspace, runs="runs"):
    return read_log(workspace / runs / "tiny" / "train_log.jsonl")


@pytest.mark.parametrize(
    "fields",
    [
        *(pytest.param(fields, id=name) for name, fields in MEMBERS.items()),
        *(
            pytest.param(fields, id=name, marks=pytest.mark.slow)
            for name, fields in MORE_MEMBERS.items()
        ),
    ],
)
def test_member_learns_resumes_bit_for_bit_and_loads(workspace, fields):
    set_member(workspace, fields)
    folder = run(workspace, "whole")
    run(workspace, "parts", stop_after_steps=5)
    run(workspace, "parts", resume=True)
    assert_same_run(workspace, "whole", "parts")
    lines = log_of(workspace, "whole")
    assert lines[-1]["loss"]["lm"] < lines[0]["loss"]["lm"] - 0.3
    assert sum(lines[-1]["depth_shares"]) == pytest.approx(1)
    trained, loaded = load_state(workspace / "whole" / "tiny").model, load_checkpoint(folder).model
    for name, tensor in loaded.state_dict().items():
        torch.testing.assert_close(tensor, trained[name], atol=2e-3, rtol=1e-2)


def test_loss_free_bias_moves_by_one_rate_a_step_towards_what_got_little(workspace):
    set_member(workspace, {**ROUTED["token choice, loss-free"], "router_bias_update_rate": 0.01})
    run(workspace, "runs", stop_after_steps=1)
    first = torch.tensor(log_of(workspace)[0]["depth_shares"])
    bias = load_state(workspace / "runs" / "tiny").model["model.routers.0.bias"]
    torch.testing.assert_close(bias, 0.01 * torch.sign(1 / 3 - first))
    run(workspace, "runs", resume=True)
    expected = sum(
        0.01 * torch.sign(1 / 3 - torch.tensor(line["depth_shares"])) for line in log_of(workspace)
    )
    bias = load_state(workspace / "runs" / "tiny").model["model.routers.0.bias"]
    torch.testing.assert_close(bias, expected)
    assert "balancing" not in log_of(workspace)[0]["loss"]


def test_loss_free_bias_selects_and_does_not_gate():
    model = tiny_model(**ROUTED["token choice, loss-free"])
    router = model.model.routers[0]
    logits = torch.tensor([[[2.0, 1.0, 0.0]]])
    before = router.gate(logits, "learned")
    router.bias.copy_(torch.tensor([0.0, 0.0, 5.0]))
    assert router.chosen_depths(logits).item() == 3
    assert torch.equal(router.gate(logits, "learned"), before)


def test_capacity_warm_up_falls_along_half_a_cosine(workspace):
    set_member(workspace, {}, schedule={"capacity_warmup_tokens": 4 * 256})
    run(workspace, "runs")
    lines = log_of(workspace)
    full, halfway, after = (lines[step]["depth_shares"] for step in (0, 2, 4))
    assert full == [0.0, 0.0, 1.0]
    second, third = (math.floor(32 * (factor + (1 - factor) / 2)) for factor in (2 / 3, 1 / 3))
    assert halfway == pytest.approx([(32 - second) / 32, (second - third) / 32, third / 32])
    assert after == pytest.approx([11 / 32, 11 / 32, 10 / 32])
    config = load_recipe(workspace / "tiny.toml").config()
    assert lines[0]["step_flops"] == 8 * training_flops(config, 32, [32, 32, 32])


def test_a_budget_of_flops_pays_for_the_warm_up():
    warm = {"warmup_tokens": 512, "capacity_warmup_tokens": 2560}
    sections = {**SECTIONS, "schedule": warm, "budget": {"flops": 1e9}}
    recipe = parse_recipe(sections)
    schedule, config = make_schedule(recipe), recipe.config()
    spent = 0
    for step in range(schedule.num_steps):
        assert spent < 1e9
        factors = schedule.capacities.capacities(step) or config.capacity_schedule
        spent += 8 * training_flops(config, 32, [int(32 * factor) for factor in factors])
    assert spent >= 1e9
    assert (
        schedule.num_steps
        < make_schedule(parse_recipe({**SECTIONS, "budget": {"flops": 1e9}})).num_steps
    )


def test_capacity_warm_up_ends_at_the_models_own():
    schedule = CapacitySchedule((1.0, 0.5), fall_steps=10)
    assert schedule.capacities(0) == (1.0, 1.0)
    assert schedule.capacities(5) == pytest.approx((1.0, 0.75))
    assert schedule.capacities(10) is None


def test_capacities_are_held_before_they_fall():
    schedule = CapacitySchedule((1.0, 0.5), hold_steps=4, fall_steps=10)
    assert {schedule.capacities(step) for step in range(5)} == {(1.0, 1.0)}
    assert schedule.capacities(9) == pytest.approx((1.0, 0.75))
    assert schedule.capacities(14) is None
    assert schedule.num_steps == 14


def test_accuracy_gated_capacities_follow_the_stage_not_the_step():
    schedule = CapacitySchedule(
        (1.0, 0.5),
        skill_accuracy=0.9,
        separation_accuracy=0.8,
        check_steps=5,
        full_capacity_every=3,
    )
    full = RoutingRule.top_k([1.0, 1.0])
    assert schedule.routing(999, SKILL) == (full, {"depth_price": 0.0})
    assert schedule.routing(999, SEPARATION) == (full, {"aux": 0.0})
    own = [schedule.routing(step, OWN) for step in range(4)]
    assert own == [(full, {"aux": 0.0}), (None, None), (None, None), (full, {"aux": 0.0})]
    assert schedule.routing(3, OWN, decays=True) == (None, None)
    assert [step for step in range(1, 12) if schedule.is_due(step, SKILL)] == [5, 10]
    assert not schedule.is_due(5, OWN)
    assert schedule.gate(SKILL) == (full, 0.9)
    assert schedule.gate(SEPARATION) == (RoutingRule.top_k(), 0.8)


def test_capacity_warm_up_without_capacities_is_refused(workspace):
    with pytest.raises(RecipeError, match="belongs to expert-choice"):
        set_member(workspace, TOKEN_CHOICE, schedule={"capacity_warmup_tokens": 256})


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_aux_router_learns_ten_times_as_fast_in_a_group_of_its_own(name):
    model = tiny_model(router_supervision="aux_router")
    optimiser = make_optimiser(model, OptimiserSection(name=name), torch.device("cpu"))
    set_rate(optimiser, 0.002)
    rates = {id(w): group["lr"] for group in optimiser.param_groups for w in group["params"]}
    for name, weight in model.named_parameters():
        factor = AUX_ROUTER_RATE if "aux_network" in name else 1
        assert rates[id(weight)] == pytest.approx(0.002 * factor)
    assert AUX_ROUTER_RATE == 10


def test_a_large_gradient_of_the_aux_router_does_not_shrink_the_models(workspace, monkeypatch):
    """They are clipped apart: with a huge auxiliary loss the model takes the same first step."""
    from mor_core.model import expert_choice

    set_member(workspace, ROUTED["aux router"])
    run(workspace, "plain", stop_after_steps=1)
    original = expert_choice.auxiliary_loss
    monkeypatch.setattr(expert_choice, "auxiliary_loss", lambda *given: 1000 * original(*given))
    run(workspace, "huge", stop_after_steps=1)
    states = [load_state(workspace / runs / "tiny").model for runs in ("plain", "huge")]
    for name, tensor in states[0].items():
        if "aux_network" not in name:
            assert torch.equal(tensor, states[1][name]), name


def test_a_control_learns_its_gate_and_draws_anew_each_time():
    model = tiny_model(router_control="random_selection").train()
    ids = token_ids(2, 24)
    out = model(ids, labels=ids)
    out.loss.backward()
    assert model.model.routers[1].network.weight.grad.abs().max() > 0
    assert set(out.loss_terms) == {"lm"}
    assert out.recursion_trace.active_counts() == [[24, 16, 8]] * 2
    again = model(ids).recursion_trace
    assert not torch.equal(out.recursion_trace.depth(), again.depth())
    model.eval()
    with torch.no_grad():
        depths = [model(ids).recursion_trace.depth() for _ in range(2)]
    assert torch.equal(*depths)


def test_switch_drops_what_is_over_capacity_in_training_alone():
    model = tiny_model(**UNROUTED["switch"], expert_capacity_factor=0.5)
    ids = token_ids(2, 24)
    with torch.no_grad():
        kept = model(ids).expert_log
        model.train()
        dropped = model(ids).expert_log
    assert kept.num_dropped() == 0
    for choices, taken in zip(dropped.expert_idx, dropped.kept, strict=True):
        for row in range(2):
            for expert in range(4):
                places = (choices[row] == expert).nonzero().flatten()
                assert taken[row, places].tolist() == [True] * min(3, len(places)) + [False] * (
                    len(places) - 3
                )
    assert dropped.num_dropped() > 0


def test_switch_training_flops_leave_dropped_tokens_out():
    model = tiny_model(**UNROUTED["switch"], expert_capacity_factor=0.5).train()
    ids = token_ids(1, 32)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        out = model(ids)
        out.logits.sum().backward()
    dropped = out.expert_log.num_dropped()
    claimed = training_flops(model.config, 32, [32]) - dropped_flops(model.config, dropped)
    assert dropped > 0
    assert counter.get_total_flops() == claimed


def test_switch_scales_one_experts_output_by_its_probability():
    model = tiny_model(**UNROUTED["switch"])
    layer = model.model.shared[0]
    states = torch.randn(1, 5, 32)
    from mor_core.model.switch_experts import ExpertLog

    log = ExpertLog()
    with torch.no_grad():
        mixed = layer.mlp(states, log)
        probabilities = layer.mlp.router(states).softmax(-1)
        for workspace in range(5):
            best = int(probabilities[0, workspace].argmax())
            alone = probabilities[0, workspace, best] * layer.mlp.experts[best](
                states[0, workspace]
            )
            torch.testing.assert_close(mixed[0, workspace], alone)
            assert log.expert_idx[0][0, workspace] == best


def test_total_loss_of_token_choice_and_switch_is_the_weighted_sum():
    for fields, weights in (
        ({**TOKEN_CHOICE, "router_z_loss_coef": 0.5}, {"balancing": 0.1, "z": 0.5}),
        (UNROUTED["switch"], {"expert_balancing": 0.01, "expert_z": 0.001}),
    ):
        model = tiny_model(**fields).train()
        ids = token_ids(2, 16)
        out = model(ids, labels=ids)
        terms = out.loss_terms
        assert set(terms) == {"lm", *weights}
        total = terms["lm"] + sum(weight * terms[name] for name, weight in weights.items())
        assert out.loss.item() == pytest.approx(total.item())
