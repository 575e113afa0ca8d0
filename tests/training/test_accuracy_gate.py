"""Rows of one document, accuracy on held-out questions, a price on depth, and capacities gated by accuracy."""

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
    # Any accuracy passes: the stages end at the first checks.
    schedule={"skill_accuracy": 1e-9, "separation_accuracy": 0.0, "accuracy_check_steps": 3},
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
    output = model(ids, labels=ids, routing=RoutingRule.top_k([1.0, 1.0, 1.0]))
    terms = output.loss_terms
    scores = [step.causal_logits.sigmoid().mean().item() for step in output.recursion_trace.steps]
    assert terms["depth_price"].item() == pytest.approx(scores[1] + scores[2])
    others = terms["lm"] + 0.001 * terms["aux"]
    assert output.loss.item() == pytest.approx((others + 0.5 * terms["depth_price"]).item())
    free = MoRForCausalLM(tiny_config()).train()(ids, labels=ids)
    assert "depth_price" not in free.loss_terms


def test_loss_weights_of_a_call_replace_those_of_the_config():
    model = MoRForCausalLM(tiny_config(router_depth_price_coef=0.5)).train()
    ids = torch.arange(1, 13)[None]
    output = model(ids, labels=ids, loss_weights={"aux": 2.0, "depth_price": 0.0})
    terms = output.loss_terms
    assert output.loss.item() == pytest.approx((terms["lm"] + 2 * terms["aux"]).item())


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


EASY = {
    # After one step at this rate the most frequent token is the answer.
    "data.question_mark": "The",
    "optimiser.learning_rate": 0.02,
    "schedule.warmup_tokens": 0,
    "schedule.skill_accuracy": 0.5,
    "schedule.accuracy_check_steps": 1,
}


def is_full(line):
    return line["depth_shares"] == pytest.approx([0, 0, 1])


def test_a_run_passes_from_skill_to_separation_to_its_own_capacities(short_documents):
    run(short_documents, "runs", overrides=EASY)
    lines = log_of(short_documents)
    checks = [line["stage_check"] for line in lines if "stage_check" in line]
    assert [check["stage"] for check in checks] == [1, 2]
    assert checks[0]["accuracy"] >= 0.5
    zero_weights = [{"depth_price"}, {"aux"}]  # of skill and separation
    for line in lines[2:]:
        at_full_capacity = (line["step"] - 1) % 2 == 0 and line["step"] <= 0.8 * STEPS
        zero_weights.append({"aux"} if at_full_capacity else set())
    for line, zero in zip(lines, zero_weights, strict=True):
        assert is_full(line) == bool(zero), line["step"]
        losses = line["loss"]
        weights = {"aux": 0.001, "depth_price": 0.1} | dict.fromkeys(zero, 0.0)
        total = losses["lm"] + sum(weight * losses[name] for name, weight in weights.items())
        assert losses["total"] == pytest.approx(total, rel=1e-5), line["step"]
    validation = lines[-1]["validation"]
    assert {"answer_accuracy_top_k", "answer_accuracy_causal"} <= set(validation)


def test_a_skill_that_is_not_there_keeps_full_capacity(short_documents):
    run(short_documents, "runs", overrides={"schedule.skill_accuracy": 1.0})
    lines = log_of(short_documents)
    checks = [line["stage_check"] for line in lines if "stage_check" in line]
    assert len(checks) == STEPS // 3
    assert all(0 <= check["accuracy"] < 1 and check["stage"] == 0 for check in checks)
    assert all(is_full(line) for line in lines)


def test_a_resumed_run_passes_the_stages_of_the_uninterrupted_run(short_documents):
    run(short_documents, "whole", overrides=EASY)
    run(short_documents, "halves", stop_after_steps=1, overrides=EASY)
    assert load_state(short_documents / "halves" / "tiny").totals.stage == 1
    run(short_documents, "halves", resume=True, overrides=EASY)
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
        ({"schedule": {"accuracy_check_steps": 0}}, "accuracy_check_steps must be above 0, got 0"),
        ({"schedule": {"skill_accuracy": 1.5}}, "must lie between 0 and 1, got 1.5"),
        (
            {"model": {"router_type": "none", "router_depth_price_coef": 0.0}},
            "skill_accuracy belongs to expert-choice",
        ),
    ],
)
def test_a_contradictory_recipe_is_refused(changes, message):
    sections = {name: GATED[name] | changes.get(name, {}) for name in GATED}
    with pytest.raises(RecipeError) as refused:
        parse_recipe(sections)
    assert message in str(refused.value)
