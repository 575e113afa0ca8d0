"""Rows of one document, accuracy on held-out questions, a price on depth, and capacities that fall by levels."""

import math

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError

from mor_core.model.accounting import training_flops
from mor_core.model.model import MoRForCausalLM
from mor_core.model.routing_rules import RoutingRule
from mor_core.training.data import PADDING
from mor_core.training.data_loader import model_inputs
from mor_core.training.hardware import start_accelerator
from mor_core.training.recipe import RecipeError, load_recipe, parse_recipe, recipe_text
from mor_core.training.run_state import load_state, read_log
from mor_core.training.validation import Validation
from tests.models import tiny_config
from tests.tiny_run import SECTIONS, STEPS, assert_same_run, run

CPU = torch.device("cpu")


def changed(**sections):
    return {
        name: SECTIONS.get(name, {}) | sections.get(name, {}) for name in {**SECTIONS, **sections}
    }


GATED = changed(
    model={"router_depth_price_coef": 0.1},
    data={"rows": "documents", "question_mark": "had"},
    schedule={"capacity_levels": 3, "capacity_check_steps": 2, "capacity_accuracy": 0.0},
    run={"sequence_tokens": 16},
)


@pytest.fixture
def short_documents(workspace):
    """A workspace whose documents are shorter than a row of 16 tokens, of different lengths."""
    for name, first, last in (("train", 0, 120), ("valid", 120, 140)):
        texts = [
            f"The hen had {number}{' eggs' * (number % 2)}.\n" for number in range(first, last)
        ]
        (workspace / f"{name}.txt").write_text("<|endoftext|>\n".join(texts), encoding="utf-8")
    model = {"vocab_size": 270, "max_position_embeddings": 32}
    recipe = parse_recipe(GATED | {"model": GATED["model"] | model})
    (workspace / "tiny.toml").write_text(recipe_text(recipe), encoding="utf-8")
    return workspace


def log_of(workspace, runs="runs"):
    return read_log(workspace / runs / "tiny" / "train_log.jsonl")


def test_a_padded_row_counts_as_its_document_alone():
    model = MoRForCausalLM(tiny_config()).train()
    rows = torch.tensor([[5, 6, 7, 8, PADDING, PADDING], [9, 8, 7, 6, 5, 4]])
    inputs = model_inputs(rows, CPU)
    assert inputs["attention_mask"].sum(dim=1).tolist() == [4, 6]
    together = model(**inputs, routing=RoutingRule.fixed(2))
    alone = [
        model(**model_inputs(row[row != PADDING][None], CPU), routing=RoutingRule.fixed(2))
        for row in rows
    ]
    expected = (3 * alone[0].loss_terms["lm"] + 5 * alone[1].loss_terms["lm"]) / 8
    torch.testing.assert_close(together.loss_terms["lm"], expected, atol=1e-6, rtol=0)
    assert model_inputs(rows[1:], CPU)["attention_mask"] is None


def test_price_is_charged_in_recursions_that_some_tokens_leave():
    model = MoRForCausalLM(tiny_config(router_depth_price_coef=0.5)).train()
    ids = torch.arange(1, 13)[None]
    held = model(ids, labels=ids, routing=RoutingRule.top_k([1.0, 1.0, 1.0]))
    assert "depth_price" not in held.loss_terms
    falling = model(ids, labels=ids, routing=RoutingRule.top_k([1.0, 0.75, 0.5]))
    terms = falling.loss_terms
    scores = [step.causal_logits.sigmoid().mean().item() for step in falling.recursion_trace.steps]
    assert terms["depth_price"].item() == pytest.approx(scores[1] + scores[2])
    others = terms["lm"] + 0.001 * terms["aux"]  # of recursion 1, whose capacity is its own
    assert falling.loss.item() == pytest.approx((others + 0.5 * terms["depth_price"]).item())
    own = model(ids, labels=ids, routing=RoutingRule.top_k())
    assert held.loss_terms["aux"] > terms["aux"]
    assert own.loss_terms["aux"] > terms["aux"]
    free = MoRForCausalLM(tiny_config()).train()(ids, labels=ids)
    assert "depth_price" not in free.loss_terms


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"router_depth_price_coef": -1.0}, "router_depth_price_coef must not be negative"),
        ({"router_depth_price_coef": 0.1, "router_type": "none"}, "belongs to a router"),
        (
            {
                "router_depth_price_coef": 0.1,
                "router_type": "token_choice",
                "router_activation": "softmax",
            },
            "belongs to expert-choice",
        ),
        ({"router_depth_price_coef": 0.1, "router_control": "random_scores"}, "scores decide"),
    ],
)
def test_a_price_without_router_scores_is_refused(fields, message):
    with pytest.raises(StrictDataclassError) as refused:
        tiny_config(**fields)
    assert message in str(refused.value) + str(refused.value.__cause__)


def test_validation_scores_the_answers_after_questions(tiny_tokenizer):
    recipe = parse_recipe(SECTIONS)
    model = MoRForCausalLM(tiny_config(vocab_size=len(tiny_tokenizer)))
    ids = [
        0,
        *tiny_tokenizer.encode("Every morning he said to his mother", add_special_tokens=False),
    ]
    texts = [tiny_tokenizer.decode([token]) for token in ids]
    row = torch.tensor([[*ids, PADDING, PADDING]])
    mark = texts[3][-1]
    questions = [position for position, text in enumerate(texts[:-1]) if text.endswith(mark)]
    validation = Validation([row, row], start_accelerator(recipe), tiny_tokenizer, mark)
    rule = RoutingRule.fixed(2)
    with torch.no_grad():
        predicted = model(torch.tensor([ids]), use_cache=False, routing=rule).logits[0].argmax(-1)
    expected = sum(int(predicted[position]) == ids[position + 1] for position in questions) / len(
        questions
    )
    assert validation.answer_accuracy(model, rule) == pytest.approx(expected)
    found = validation.measure(model)
    assert set(found) == {
        f"{figure}_{name}{unit}"
        for name in ("top_k", "causal")
        for figure, unit in (("nll", "_nats_per_token"), ("answer_accuracy", ""))
    }
    without_questions = Validation([row], start_accelerator(recipe), tiny_tokenizer, "\x00")
    with pytest.raises(ValueError, match="question_mark must be the suffix of a held-out token"):
        without_questions.answer_accuracy(model, rule)


def test_capacities_fall_one_level_per_passed_trial(short_documents):
    run(short_documents, "runs")
    lines = log_of(short_documents)
    levels = [line["capacity_trial"]["level"] for line in lines if "capacity_trial" in line]
    assert levels == [1, 2, 3]  # at steps 2, 4, 6: every trial passes at an accuracy of 0
    assert "depth_price" not in lines[0]["loss"]
    assert all("depth_price" in line["loss"] for line in lines[2:])
    full, own = lines[0]["depth_shares"], lines[-1]["depth_shares"]
    assert full == pytest.approx([0, 0, 1])
    assert own[0] > 0.2
    validation = lines[-1]["validation"]
    assert {"answer_accuracy_top_k", "answer_accuracy_causal"} <= set(validation)


def test_a_failed_trial_keeps_the_capacities(short_documents):
    run(short_documents, "runs", overrides={"schedule.capacity_accuracy": 1.0})
    lines = log_of(short_documents)
    trials = [line["capacity_trial"] for line in lines if "capacity_trial" in line]
    assert len(trials) == STEPS // 2
    assert all(0 <= trial["accuracy"] < 1 and trial["level"] == 0 for trial in trials)
    assert lines[-1]["depth_shares"] == pytest.approx([0, 0, 1])


def test_a_resumed_run_reaches_the_levels_of_the_uninterrupted_run(short_documents):
    run(short_documents, "whole")
    run(short_documents, "halves", stop_after_steps=5)
    assert load_state(short_documents / "halves" / "tiny").totals.capacity_level == 2
    run(short_documents, "halves", resume=True)
    assert_same_run(short_documents, "whole", "halves")


def test_tokens_and_flops_of_padded_rows_are_those_of_their_documents(short_documents):
    run(short_documents, "runs", stop_after_steps=1)
    (line,) = log_of(short_documents)
    config = load_recipe(short_documents / "tiny.toml").config()
    assert line["tokens"] < 256
    # 16 rows at full capacity: the sum over rows is between that of equal rows and that of full ones.
    mean = math.floor(line["tokens"] / 16)
    assert line["training_flops"] > 16 * training_flops(config, mean, [mean] * 3)
    assert line["training_flops"] < 16 * training_flops(config, 16, [16] * 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schedule": {"capacity_hold_tokens": 512}}, "leave these out"),
        ({"data": {"question_mark": ""}}, "give [data] question_mark and a held-out text"),
        ({"data": {"valid": ""}}, "held-out text ''"),
        ({"budget": {"tokens": 0, "flops": 1e12}}, "needs [budget] tokens"),
        ({"run": {"sequence_tokens": 64}}, "at most max_position_embeddings=32, got 64"),
        ({"run": {"sequence_tokens": 24}}, "micro_batch x sequence_tokens (4 x 24 = 96), got 256"),
        ({"schedule": {"capacity_check_steps": 0}}, "capacity_check_steps must be above 0, got 0"),
        ({"schedule": {"capacity_accuracy": 1.5}}, "must lie between 0 and 1, got 1.5"),
        (
            {"model": {"router_type": "none", "router_depth_price_coef": 0.0}},
            "capacity_levels belongs to expert-choice",
        ),
    ],
)
def test_a_contradictory_recipe_is_refused(changes, message):
    sections = {name: GATED[name] | changes.get(name, {}) for name in GATED}
    with pytest.raises(RecipeError) as refused:
        parse_recipe(sections)
    assert message in str(refused.value)
