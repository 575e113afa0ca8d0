"""The small tasks: what their items are, and scores that equal a slow computation."""

import pytest
import torch

from mor_core import RoutingRule
from mor_core.checkpoints.tokenizer import encode_text
from mor_core.evaluation.small_tasks import (
    _score_endings,
    continuation_items,
    last_word_items,
    score_tasks,
)


def story(name):
    return (
        f"{name} had a garden. It was small. The {name} dug all day. Then rain fell. Nobody came. "
        f"At last the flower stood in {name}'s garden."
    )


DOCUMENTS = [story(name) for name in ("fox", "cow", "hen", "pig", "owl")]


def test_last_words_have_stood_in_the_passage_before():
    items = last_word_items(DOCUMENTS)
    assert len(items) == 5
    assert items[0].context.endswith("stood in fox's")
    assert items[0].endings == (" garden",)
    assert last_word_items([DOCUMENTS[0].replace("had a garden", "had a house")]) == []
    assert last_word_items([DOCUMENTS[0].replace("Nobody came. ", "")]) == []  # too short


def test_true_continuation_comes_first_and_the_others_are_of_other_documents():
    items = continuation_items(DOCUMENTS)
    assert len(items) == 5
    for item, name in zip(items, ("fox", "cow", "hen", "pig", "owl"), strict=True):
        assert name in item.endings[0]
        assert item.endings[0].startswith(" ")
        assert len(set(item.endings)) == 4
        assert not any(name in ending for ending in item.endings[1:])
        assert item.context.endswith("Nobody came.")


def test_fewer_than_four_documents_make_no_choice():
    assert continuation_items(DOCUMENTS[:3]) == []


def test_scores_equal_one_ending_at_a_time(tiny_loaded):
    items = list(continuation_items(DOCUMENTS)[:2])
    rule = RoutingRule.causal()
    found = _score_endings(tiny_loaded, items, rule)
    context = tiny_loaded.model.config.max_position_embeddings
    for item, scores in zip(items, found, strict=True):
        for ending, (per_byte, _) in zip(item.endings, scores, strict=True):
            after = encode_text(tiny_loaded.tokenizer, ending)
            ids = [0, *encode_text(tiny_loaded.tokenizer, item.context), *after][-context:]
            with torch.no_grad():
                log_probs = tiny_loaded.model(torch.tensor([ids])).logits[0].log_softmax(-1)
            places = range(len(ids) - len(after), len(ids))
            by_hand = sum(float(log_probs[place - 1, ids[place]]) for place in places)
            assert per_byte == pytest.approx(by_hand / len(ending.encode()), abs=1e-5)


def test_a_model_that_always_says_one_thing_is_right_where_that_is_true(tiny_loaded, monkeypatch):
    from mor_core.evaluation import small_tasks

    monkeypatch.setattr(
        small_tasks,
        "_score_endings",
        lambda _, items, __: [
            [
                (-float(place != item.document % 2), item.document == 0)
                for place in range(len(item.endings))
            ]
            for item in items
        ],
    )
    found = score_tasks(tiny_loaded, DOCUMENTS, RoutingRule.causal())
    assert found["last_word"]["accuracy"] == pytest.approx(1 / 5)
    assert found["continuation"]["accuracy"] == pytest.approx(3 / 5)
    assert found["continuation"]["chance"] == 0.25
    low, high = found["continuation"]["interval"]
    assert 0 <= low < 0.6 < high <= 1


def test_nothing_to_ask_is_said_and_not_divided_by(tiny_loaded):
    found = score_tasks(tiny_loaded, ["Too short."], RoutingRule.causal())
    assert found["last_word"] == {
        "num_items": 0,
        "accuracy": None,
        "interval": None,
        "chance": None,
    }
