"""Turns documents into tokens on disk and the tokens into rows, in an order that seed and index alone decide.

Every document starts with one special token. Packed rows are blocks cut from the stream of shuffled documents and
shuffled again; attention may cross documents, as in the paper. Where documents must not touch, a row holds one
document and padding. Knows nothing of models.

Source: arXiv 2507.10524, Appendix B (packing).
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from mor_core.checkpoints.tokenizer import (
    encode_texts,
    load_tokenizer,
    save_tokenizer,
    train_tokenizer,
)
from mor_core.training.corpus import reading_grade, stream_documents

_TOKEN_TYPE = np.uint16  # the largest vocabulary is 65,536
_LARGEST_VOCABULARY = 2**16
_HASHED_AT_ONCE = 2**20
_TOKENIZER_DOCUMENTS = 1_000_000  # the first ones; more change little and take hours


@dataclass(frozen=True)
class TokenisedCorpus:
    """All documents' tokens, one after the other, on disk.

    Attributes:
        tokens: (number of tokens,) uint16, memory-mapped.
        starts: (documents + 1,) int64; document i is tokens[starts[i]:starts[i + 1]].
        grades: (documents,) reading grades.
        num_text_bytes: UTF-8 bytes of the documents, separators left out.
        sha256: of the text file.
    """

    tokens: NDArray[np.uint16]
    starts: NDArray[np.int64]
    grades: NDArray[np.float32]
    num_text_bytes: int
    sha256: str

    @property
    def num_documents(self) -> int:
        """Documents, empty ones not counted."""
        return len(self.starts) - 1


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_HASHED_AT_ONCE):
            digest.update(piece)
    return digest.hexdigest()


def tokenizer_sha256(tokenizer: PreTrainedTokenizerFast) -> str:
    """Return the SHA-256 of everything that decides how text is split."""
    return hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()


def cached_tokenizer(
    text_path: Path, vocab_size: int, context_length: int, cache_folder: Path
) -> PreTrainedTokenizerFast:
    """Return the tokenizer of this text, trained once and kept beside the tokens."""
    folder = cache_folder / f"tokenizer-{file_sha256(text_path)[:16]}-{vocab_size}-{context_length}"
    if not folder.is_dir():
        documents = islice(stream_documents(text_path), _TOKENIZER_DOCUMENTS)
        tokenizer = train_tokenizer(documents, vocab_size, context_length)
        _write_folder(folder, lambda partial: save_tokenizer(tokenizer, partial))
    return load_tokenizer(folder)


def tokenise_corpus(
    text_path: Path, tokenizer: PreTrainedTokenizerFast, cache_folder: Path
) -> TokenisedCorpus:
    """Return the tokens of a text file, from the cache if this text met this tokenizer before.

    Raises:
        ValueError: the vocabulary does not fit in 16 bits.
    """
    if len(tokenizer) > _LARGEST_VOCABULARY:
        raise ValueError(f"vocab_size must be at most {_LARGEST_VOCABULARY}, got {len(tokenizer)}")
    text_hash = file_sha256(text_path)
    folder = cache_folder / f"corpus-{text_hash[:16]}-{tokenizer_sha256(tokenizer)[:16]}"
    if not folder.is_dir():
        _write_folder(folder, lambda partial: _write_tokens(text_path, tokenizer, partial))
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    return TokenisedCorpus(
        tokens=np.memmap(folder / "tokens.bin", dtype=_TOKEN_TYPE, mode="r"),
        starts=np.load(folder / "starts.npy"),
        grades=np.load(folder / "grades.npy"),
        num_text_bytes=facts["num_text_bytes"],
        sha256=text_hash,
    )


def _write_tokens(text_path: Path, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Tokenise document by document: neither the text nor its tokens need to fit in memory."""
    grades: list[float] = []
    num_bytes = 0

    def noted() -> Iterator[str]:
        nonlocal num_bytes
        for document in stream_documents(text_path):
            grades.append(reading_grade(document))
            num_bytes += len(document.encode())
            yield document

    starts = [0]
    with (folder / "tokens.bin").open("wb") as file:
        for ids in encode_texts(tokenizer, noted()):
            np.array([tokenizer.bos_token_id, *ids], dtype=_TOKEN_TYPE).tofile(file)
            starts.append(starts[-1] + 1 + len(ids))
    np.save(folder / "starts.npy", np.array(starts, dtype=np.int64))
    np.save(folder / "grades.npy", np.array(grades, dtype=np.float32))
    facts = {"num_text_bytes": num_bytes}
    (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")


def _write_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Fill a folder under another name first, so that a half-written one is never read.

    Each process writes its own and the first to finish wins; the others' are the same.
    """
    partial = folder.with_name(f"{folder.name}.partial-{os.getpid()}")
    partial.mkdir(parents=True, exist_ok=True)
    try:
        write(partial)
        if not folder.is_dir():
            partial.rename(folder)
    finally:
        if partial.is_dir():
            for path in partial.iterdir():
                path.unlink()
            partial.rmdir()


class BlockOrder:
    """An endless row of blocks: block n is a function of the corpus, the seed and n alone."""

    def __init__(
        self,
        corpus: TokenisedCorpus,
        block_length: int,
        seed: int,
        documents: NDArray[np.int64] | None = None,
    ) -> None:
        """Prepare an order over all documents, or over the given ones.

        Raises:
            ValueError: the documents do not fill one block.
        """
        self.corpus = corpus
        self.block_length = block_length
        self.seed = seed
        self.documents = np.arange(corpus.num_documents) if documents is None else documents
        self.num_tokens = int(np.diff(corpus.starts)[self.documents].sum())
        self.blocks_per_epoch = self.num_tokens // block_length
        if not self.blocks_per_epoch:
            raise ValueError(
                f"the corpus must fill at least one block of {block_length} tokens, got {self.num_tokens} tokens; "
                "give more text or a smaller max_position_embeddings"
            )
        self._epoch = lru_cache(maxsize=2)(self._shuffled)

    def block(self, number: int) -> NDArray[np.int64]:
        """Return block `number`, counted on through the epochs; -> (block_length,)."""
        epoch, index = divmod(number, self.blocks_per_epoch)
        documents, ends, blocks = self._epoch(epoch)
        first = int(blocks[index]) * self.block_length
        place = int(np.searchsorted(ends, first, side="right"))
        pieces: list[NDArray[np.uint16]] = []
        missing = self.block_length
        while missing:
            document = documents[place]
            start, end = self.corpus.starts[document : document + 2]
            skipped = max(0, first - int(ends[place] - (end - start)))
            piece = self.corpus.tokens[start + skipped : min(end, start + skipped + missing)]
            pieces.append(piece)
            missing -= len(piece)
            place += 1
        return np.concatenate(pieces).astype(np.int64)

    def _shuffled(
        self, epoch: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return the epoch's documents in order, where each ends in the stream, and its blocks in order."""
        generator = np.random.default_rng([self.seed, epoch])
        documents = generator.permutation(self.documents)
        ends = np.cumsum(np.diff(self.corpus.starts)[documents])
        return documents, ends, generator.permutation(self.blocks_per_epoch)


PADDING = -1
"""Fills up a row after its document; no token has this id."""


class DocumentOrder:
    """An endless row of documents, each padded to the same length: row n is a function of corpus, seed and n alone."""

    def __init__(
        self,
        corpus: TokenisedCorpus,
        row_length: int,
        seed: int,
        documents: NDArray[np.int64] | None = None,
    ) -> None:
        """Prepare an order over all documents, or over the given ones.

        Raises:
            ValueError: a document is longer than a row.
        """
        self.corpus = corpus
        self.row_length = row_length
        self.seed = seed
        self.documents = np.arange(corpus.num_documents) if documents is None else documents
        lengths = np.diff(corpus.starts)[self.documents]
        if lengths.max() > row_length:
            longest = int(self.documents[lengths.argmax()])
            raise ValueError(
                f"with one document a row each must have at most {row_length} tokens, its start included, got "
                f"{lengths.max()} in document {longest}; give longer rows ([run] sequence_tokens), shorter documents, "
                'or [data] rows = "packed"'
            )
        self.blocks_per_epoch = len(self.documents)
        self._epoch = lru_cache(maxsize=2)(self._shuffled)

    def block(self, number: int) -> NDArray[np.int64]:
        """Return row `number`, counted on through the epochs; -> (row_length,), `PADDING` after the document."""
        epoch, index = divmod(number, self.blocks_per_epoch)
        document = self._epoch(epoch)[index]
        start, end = self.corpus.starts[document : document + 2]
        row = np.full(self.row_length, PADDING, dtype=np.int64)
        row[: end - start] = self.corpus.tokens[start:end]
        return row

    def _shuffled(self, epoch: int) -> NDArray[np.int64]:
        return np.random.default_rng([self.seed, epoch]).permutation(self.documents)


def simplest_documents(corpus: TokenisedCorpus, share_of_tokens: float) -> NDArray[np.int64]:
    """Return the documents of the lowest reading grades that together hold this share of the tokens."""
    order = np.argsort(corpus.grades, kind="stable")
    held = np.cumsum(np.diff(corpus.starts)[order])
    wanted = share_of_tokens * held[-1]
    return order[: int(np.searchsorted(held, wanted)) + 1]
