"""A recipe may name a tokenizer: a folder or a name on the Hub; one that does not fit the model is refused."""

import pytest
from transformers import PreTrainedTokenizerFast

from mor_core.checkpoints.tokenizer import load_tokenizer, save_tokenizer
from mor_core.training.data import tokenizer_sha256
from mor_core.training.data_loader import prepare_data
from mor_core.training.recipe import parse_recipe
from tests.tiny_run import SECTIONS


def named(name, **model):
    data, fields = SECTIONS["data"] | {"tokenizer": name}, SECTIONS["model"] | model
    return parse_recipe(SECTIONS | {"data": data, "model": fields})


def test_a_folders_tokenizer_is_used_and_none_is_trained(workspace, tiny_tokenizer):
    save_tokenizer(tiny_tokenizer, workspace / "words")
    found = prepare_data(named(str(workspace / "words")), workspace / "cache", workspace)
    assert tokenizer_sha256(found.tokenizer) == tokenizer_sha256(tiny_tokenizer)
    assert not list((workspace / "cache").glob("tokenizer-*"))
    learnt = prepare_data(named(""), workspace / "cache", workspace)
    assert tokenizer_sha256(learnt.tokenizer) != tokenizer_sha256(tiny_tokenizer)


def test_a_name_is_looked_up_on_the_hub(workspace, tiny_tokenizer, monkeypatch):
    save_tokenizer(tiny_tokenizer, workspace / "words")
    names = []

    def hub(name, *args, **options):
        names.append(name)
        return load_tokenizer(workspace / "words") if name == "some/words" else original(name)

    original = PreTrainedTokenizerFast.from_pretrained
    monkeypatch.setattr(PreTrainedTokenizerFast, "from_pretrained", hub)
    found = prepare_data(named("some/words"), workspace / "cache", workspace)
    assert names[0] == "some/words"
    assert tokenizer_sha256(found.tokenizer) == tokenizer_sha256(tiny_tokenizer)


def test_what_is_not_there_or_too_large_is_refused(workspace, tiny_tokenizer, monkeypatch):
    save_tokenizer(tiny_tokenizer, workspace / "words")
    with pytest.raises(ValueError, match="at most vocab_size=100 tokens, got"):
        prepare_data(
            named(str(workspace / "words"), vocab_size=100), workspace / "cache", workspace
        )

    def offline(name, *args, **options):
        raise OSError("no network")

    monkeypatch.setattr(PreTrainedTokenizerFast, "from_pretrained", offline)
    with pytest.raises(ValueError, match=r"\[data\] tokenizer must be a folder .* got 'no/where'"):
        prepare_data(named("no/where"), workspace / "cache", workspace)
