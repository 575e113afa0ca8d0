"""Corpora, their tokens on disk, and the order of blocks."""

import sys
import types

import numpy as np
import pytest

from mor_core.checkpoints.tokenizer import encode_text
from mor_core.training.corpus import (
    CorpusError,
    fetch_hugging_face,
    find_corpus,
    read_documents,
    reading_grade,
)
from mor_core.training.data import (
    PADDING,
    BlockOrder,
    DocumentOrder,
    cached_tokenizer,
    simplest_documents,
    tokenise_corpus,
)

STORIES = [
    f"Story {n}. " + f"The cat number {n} sat on mat {n * n}.\n\nIt slept. " * (n % 5 + 1)
    for n in range(40)
]
STORIES = [story.strip() for story in STORIES]


@pytest.fixture
def corpus_path(tmp_path):
    path = tmp_path / "stories.txt"
    path.write_text("".join(f"{story}\n<|endoftext|>\n" for story in STORIES), encoding="utf-8")
    return path


@pytest.fixture
def prepared(corpus_path, tmp_path):
    tokenizer = cached_tokenizer(corpus_path, 300, 64, tmp_path / "cache")
    return tokenizer, tokenise_corpus(corpus_path, tokenizer, tmp_path / "cache")


def test_separators_split_the_text_into_documents(corpus_path):
    assert read_documents(corpus_path) == STORIES


def test_separator_inside_a_line_does_not_split_documents(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("one <|endoftext|> one\n<|endoftext|>\n\n<|endoftext|>\ntwo", encoding="utf-8")
    assert read_documents(path) == ["one <|endoftext|> one", "two"]


def test_missing_corpus_says_how_to_use_any_text_or_data_set(tmp_path, monkeypatch):
    monkeypatch.delenv("MOR_DATA", raising=False)
    with pytest.raises(CorpusError) as caught:
        find_corpus("nowhere.txt", tmp_path)
    for word in (
        "nowhere.txt",
        "MOR_DATA",
        "--data-dir",
        "hugging_face",
        "tinystories-mor3-expert",
    ):
        assert word in str(caught.value)


def test_folder_comes_from_the_option_before_the_variable(corpus_path, tmp_path, monkeypatch):
    monkeypatch.setenv("MOR_DATA", str(tmp_path))
    assert find_corpus("stories.txt", None) == corpus_path
    with pytest.raises(CorpusError):
        find_corpus("stories.txt", tmp_path / "elsewhere")


@pytest.mark.parametrize(
    ("content", "message"), [(b"\xff\xfe", "UTF-8"), (b"\n<|endoftext|>\n", "no text")]
)
def test_unreadable_corpus_is_refused(tmp_path, content, message):
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    with pytest.raises(CorpusError, match=message):
        read_documents(path)


def test_each_document_is_one_special_token_and_its_text(prepared):
    tokenizer, corpus = prepared
    assert corpus.num_documents == len(STORIES)
    assert corpus.num_text_bytes == sum(len(story.encode()) for story in STORIES)
    for index, story in enumerate(STORIES):
        start, end = corpus.starts[index : index + 2]
        assert corpus.tokens[start:end].tolist() == [0, *encode_text(tokenizer, story)]


def test_second_reading_comes_from_the_cache(prepared, corpus_path, tmp_path, monkeypatch):
    _tokenizer, corpus = prepared

    def refuse(*_):
        raise AssertionError("tokenised again")

    monkeypatch.setattr("mor_core.training.data.encode_texts", refuse)
    monkeypatch.setattr("mor_core.training.data.train_tokenizer", refuse)
    again = cached_tokenizer(corpus_path, 300, 64, tmp_path / "cache")
    assert isinstance(corpus.tokens, np.memmap)
    assert np.array_equal(
        tokenise_corpus(corpus_path, again, tmp_path / "cache").tokens, corpus.tokens
    )


def test_changed_text_is_tokenised_anew(prepared, corpus_path, tmp_path):
    tokenizer, corpus = prepared
    corpus_path.write_text("Only this.", encoding="utf-8")
    changed = tokenise_corpus(corpus_path, tokenizer, tmp_path / "cache")
    assert changed.num_documents == 1
    assert changed.sha256 != corpus.sha256


def test_interrupted_tokenising_leaves_no_half_cache(corpus_path, tmp_path, monkeypatch):
    tokenizer = cached_tokenizer(corpus_path, 300, 64, tmp_path / "cache")
    before = sorted((tmp_path / "cache").iterdir())

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mor_core.training.data.np.save", full)
    with pytest.raises(OSError, match="No space left"):
        tokenise_corpus(corpus_path, tokenizer, tmp_path / "cache")
    assert sorted((tmp_path / "cache").iterdir()) == before


def whole_stream(order, epoch):
    """The epoch's tokens as one array: what blocks are cut from, built the slow way."""
    documents, _, _ = order._shuffled(epoch)
    starts = order.corpus.starts
    return np.concatenate([order.corpus.tokens[starts[d] : starts[d + 1]] for d in documents])


def test_an_epoch_of_blocks_is_the_shuffled_stream_once(prepared):
    order = BlockOrder(prepared[1], 16, seed=3)
    for epoch in (0, 1):
        stream = whole_stream(order, epoch)
        number = order.blocks_per_epoch
        cut = stream[: number * 16].reshape(number, 16).tolist()
        blocks = [order.block(epoch * number + index).tolist() for index in range(number)]
        assert sorted(blocks) == sorted(cut)
        assert blocks != cut  # shuffled


def test_block_depends_on_seed_and_number_alone(prepared):
    first, second = (BlockOrder(prepared[1], 16, seed=3) for _ in range(2))
    numbers = [90, 5, 1, 41, 5]
    jumped = [first.block(number).tolist() for number in numbers]
    for number in range(100):
        second.block(number)
    assert jumped == [second.block(number).tolist() for number in numbers]
    other = BlockOrder(prepared[1], 16, seed=4)
    assert [other.block(number).tolist() for number in numbers] != jumped


def test_corpus_below_one_block_is_refused(prepared):
    with pytest.raises(ValueError, match="at least one block of 1000000 tokens"):
        BlockOrder(prepared[1], 1_000_000, seed=0)


def test_reading_grade_is_the_automated_readability_index():
    # by hand: 7 words of 22 letters in 2 sentences
    assert reading_grade("The cat sat down. It ran away.") == pytest.approx(
        4.71 * 22 / 7 + 0.5 * 7 / 2 - 21.43
    )
    hard = "Notwithstanding considerable administrative difficulties, negotiations continued indefinitely."
    assert reading_grade(hard) > reading_grade("The cat sat. It ran.")


def test_simplest_documents_hold_the_share_and_no_harder_one_is_among_them(prepared):
    corpus = prepared[1]
    chosen = simplest_documents(corpus, 0.3)
    others = np.setdiff1d(np.arange(corpus.num_documents), chosen)
    lengths = np.diff(corpus.starts)
    held = lengths[chosen].sum() / lengths.sum()
    assert 0.3 <= held < 0.3 + lengths.max() / lengths.sum()
    assert corpus.grades[chosen].max() <= corpus.grades[others].min()
    order = BlockOrder(corpus, 16, seed=0, documents=chosen)
    assert order.num_tokens == lengths[chosen].sum()


def test_hugging_face_data_set_becomes_a_corpus_once(tmp_path, monkeypatch):
    rows = [
        {"text": "One."},
        {"text": "  "},
        {"text": "Two <|endoftext|> two."},
        {"text": "Three."},
    ]
    calls = []

    def load_dataset(name, subset, *, split, streaming):
        calls.append((name, subset, split, streaming))
        return iter(rows)

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    path = fetch_hugging_face("some/stories", "train", "text", 3, tmp_path)
    assert read_documents(path) == ["One.", "Two  two."]
    assert fetch_hugging_face("some/stories", "train", "text", 3, tmp_path) == path
    assert calls == [("some/stories", None, "train", True)]
    with pytest.raises(CorpusError, match="text_column must be one of"):
        fetch_hugging_face("some/stories", "test", "story", None, tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def test_subsets_of_a_data_set_are_kept_apart(tmp_path, monkeypatch):
    def load_dataset(name, subset, *, split, streaming):
        return iter([{"text": f"{subset}."}])

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    paths = [
        fetch_hugging_face("a/b", "train", "text", 1, tmp_path, subset=name) for name in ("x", "y")
    ]
    assert [read_documents(path) for path in paths] == [["x."], ["y."]]


def test_missing_datasets_package_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(CorpusError, match="pip install datasets"):
        fetch_hugging_face("some/stories", "train", "text", None, tmp_path)


def test_an_epoch_of_document_rows_is_every_document_once_and_padding(prepared):
    corpus = prepared[1]
    longest = int(np.diff(corpus.starts).max())
    order = DocumentOrder(corpus, longest + 3, seed=3)
    documents = [
        corpus.tokens[start:end].tolist()
        for start, end in zip(corpus.starts[:-1], corpus.starts[1:], strict=True)
    ]
    for epoch in (0, 1):
        rows = [order.block(epoch * len(documents) + index) for index in range(len(documents))]
        assert all(len(row) == longest + 3 for row in rows)
        found = [row[row != PADDING].tolist() for row in rows]
        assert sorted(found) == sorted(documents)
        assert found != documents  # shuffled
        for row, document in zip(rows, found, strict=True):
            assert (row[len(document) :] == PADDING).all()


def test_a_document_longer_than_its_row_is_refused_with_the_remedy(prepared):
    longest = int(np.diff(prepared[1].starts).max())
    with pytest.raises(
        ValueError, match=rf"at most {longest - 1} tokens.*got {longest} in document"
    ):
        DocumentOrder(prepared[1], longest - 1, seed=0)
