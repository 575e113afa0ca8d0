"""The byte-level tokenizer: exact, deterministic, and never fooled by text that spells its special token."""

import random

import pytest

from mor_core.checkpoints.tokenizer import (
    DOCUMENT_START,
    encode_text,
    encode_texts,
    load_tokenizer,
    save_tokenizer,
    train_tokenizer,
)

DOCUMENTS = [
    f'The {who} said, "I am {how}."\n\nThen the {who} went home to sleep until {hour} o\'clock.'
    for who in ("rabbit", "fox", "old king", "little girl")
    for how in ("hungry", "tired", "happy")
    for hour in (6, 12)
]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(DOCUMENTS, vocab_size=300, context_length=64)


def any_text(seed, length=200):
    """Characters from all of Unicode; surrogates are no text."""
    source = random.Random(seed)
    points = (
        source.randrange(0x110000) if source.random() < 0.5 else source.randrange(128)
        for _ in range(length)
    )
    return "".join(chr(point) for point in points if not 0xD800 <= point < 0xE000)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " leading and trailing ",
        "\n\n\n\t \r\n",
        "\x00\x01\x7f",
        "日本語 é 👩‍👩‍👧",
        DOCUMENT_START,
        f"a{DOCUMENT_START}b",
        *[any_text(seed) for seed in range(20)],
    ],
)
def test_every_text_survives_a_round_trip(tokenizer, text):
    assert tokenizer.decode(encode_text(tokenizer, text)) == text


def test_typed_special_token_is_ordinary_text_before_and_after_saving(tokenizer, tmp_path):
    save_tokenizer(tokenizer, tmp_path)
    text = f"once {DOCUMENT_START} upon"
    for one in (tokenizer, load_tokenizer(tmp_path)):
        assert 0 not in encode_text(one, text)
        assert 0 not in one(text).input_ids
        assert list(encode_texts(one, [text])) == [encode_text(one, text)]
        assert one.convert_tokens_to_ids(DOCUMENT_START) == 0
        assert one.bos_token_id == one.eos_token_id == one.pad_token_id == 0


def test_same_documents_give_the_same_tokenizer(tokenizer):
    again = train_tokenizer(DOCUMENTS, vocab_size=300, context_length=64)
    assert again.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()


def test_vocabulary_has_the_size_asked_for_and_learns_words(tokenizer):
    assert len(tokenizer) == 300
    assert max(encode_text(tokenizer, DOCUMENTS[0])) > 257
    assert len(encode_text(tokenizer, DOCUMENTS[0])) < len(DOCUMENTS[0])


def test_paragraph_break_is_one_piece(tokenizer):
    assert "ĊĊ" in tokenizer.convert_ids_to_tokens(encode_text(tokenizer, DOCUMENTS[0]))


def test_many_texts_are_encoded_as_one_by_one(tokenizer):
    assert list(encode_texts(tokenizer, DOCUMENTS, batch_size=5)) == [
        encode_text(tokenizer, text) for text in DOCUMENTS
    ]


def test_vocabulary_that_cannot_be_filled_says_what_can():
    with pytest.raises(ValueError, match=r"vocab_size must be at most .* got 5000; give more text"):
        train_tokenizer(DOCUMENTS, vocab_size=5000, context_length=64)


def test_vocabulary_below_all_bytes_is_refused():
    with pytest.raises(ValueError, match="vocab_size must be at least 257"):
        train_tokenizer(DOCUMENTS, vocab_size=256, context_length=64)


def test_missing_tokenizer_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"tokenizer\.json is missing"):
        load_tokenizer(tmp_path)
