"""Tokenises documents to disk and cuts the tokens into rows, in an order that depends on seed and row number alone.

Every document starts with one special token. Packed rows are blocks cut from the stream of shuffled documents, then
shuffled again; attention may cross documents, as in the paper. Where documents must stay apart, a row holds one
document and padding. This module does not use the model.

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

_TOKEN_TYPE = np.uint16  # so a vocabulary has at most 65,536 entries
_LARGEST_VOCABULARY = 2**16
_HASH_CHUNK_BYTES = 2**20
_TOKENIZER_DOCUMENTS = 1_000_000  # the first ones; more take hours and change the tokenizer little


@dataclass(frozen=True)
class TokenisedCorpus:
    """The tokens of all documents, concatenated, on disk.

    Attributes:
        tokens: (number of tokens,) uint16, memory-mapped.
        starts: (documents + 1,) int64; document i is tokens[starts[i]:starts[i + 1]].
        grades: (documents,) float32, readability grades.
        num_text_bytes: UTF-8 bytes of the documents, without separators.
        sha256: SHA-256 of the text file.
    """

    tokens: NDArray[np.uint16]
    starts: NDArray[np.int64]
    grades: NDArray[np.float32]
    num_text_bytes: int
    sha256: str

    @property
    def num_documents(self) -> int:
        """Number of non-empty documents."""
        return len(self.starts) - 1


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, read in chunks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_HASH_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def tokenizer_sha256(tokenizer: PreTrainedTokenizerFast) -> str:
    """Return the SHA-256 of everything that determines how the tokenizer splits text."""
    return hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()


def cached_tokenizer(
    text_path: Path, vocab_size: int, context_length: int, cache_folder: Path
) -> PreTrainedTokenizerFast:
    """Return the tokenizer trained on this text; it is trained once and kept in the cache folder."""
    folder = cache_folder / f"tokenizer-{file_sha256(text_path)[:16]}-{vocab_size}-{context_length}"
    if not folder.is_dir():
        documents = islice(stream_documents(text_path), _TOKENIZER_DOCUMENTS)
        tokenizer = train_tokenizer(documents, vocab_size, context_length)
        _write_folder(folder, lambda partial: save_tokenizer(tokenizer, partial))
    return load_tokenizer(folder)


def tokenise_corpus(
    text_path: Path, tokenizer: PreTrainedTokenizerFast, cache_folder: Path
) -> TokenisedCorpus:
    """Return the tokens of a text file, from the cache if this text was tokenised with this tokenizer before.

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
    """Tokenise one document at a time, so that neither the text nor its tokens need to fit in memory."""
    grades: list[float] = []
    num_bytes = 0

    def documents() -> Iterator[str]:
        nonlocal num_bytes
        for document in stream_documents(text_path):
            grades.append(reading_grade(document))
            num_bytes += len(document.encode())
            yield document

    starts = [0]
    with (folder / "tokens.bin").open("wb") as file:
        for ids in encode_texts(tokenizer, documents()):
            np.array([tokenizer.bos_token_id, *ids], dtype=_TOKEN_TYPE).tofile(file)
            starts.append(starts[-1] + 1 + len(ids))
    np.save(folder / "starts.npy", np.array(starts, dtype=np.int64))
    np.save(folder / "grades.npy", np.array(grades, dtype=np.float32))
    facts = {"num_text_bytes": num_bytes}
    (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")


def _write_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Write a folder under a temporary name and rename it, so that nobody reads a half-written one.

    Each process writes its own copy; the copies are equal, and the first to finish is kept.
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
    """An endless sequence of packed blocks: block n depends on the corpus, the seed and n alone."""

    def __init__(
        self,
        corpus: TokenisedCorpus,
        block_length: int,
        seed: int,
        documents: NDArray[np.int64] | None = None,
    ) -> None:
        """Prepare an order over all documents, or over the given ones.

        Raises:
            ValueError: the documents have fewer tokens than one block.
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
        """Return block `number`, counted across epochs; -> (block_length,)."""
        epoch, block = divmod(number, self.blocks_per_epoch)
        documents, ends, blocks = self._epoch(epoch)
        first = int(blocks[block]) * self.block_length
        index = int(np.searchsorted(ends, first, side="right"))
        pieces: list[NDArray[np.uint16]] = []
        missing = self.block_length
        while missing:
            document = documents[index]
            start, end = self.corpus.starts[document : document + 2]
            skipped = max(0, first - int(ends[index] - (end - start)))
            piece = self.corpus.tokens[start + skipped : min(end, start + skipped + missing)]
            pieces.append(piece)
            missing -= len(piece)
            index += 1
        return np.concatenate(pieces).astype(np.int64)

    def _shuffled(
        self, epoch: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return the epoch's documents in order, the end of each in the token stream, and the order of the blocks."""
        generator = np.random.default_rng([self.seed, epoch])
        documents = generator.permutation(self.documents)
        ends = np.cumsum(np.diff(self.corpus.starts)[documents])
        return documents, ends, generator.permutation(self.blocks_per_epoch)


PADDING = -1
"""Fills a row after its document; no token has this id."""


class DocumentOrder:
    """An endless sequence of documents, each padded to one length: row n depends on corpus, seed and n alone."""

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
                f"with one document per row, a document must have at most {row_length} tokens including its start "
                f"token, got {lengths.max()} in document {longest}; give longer rows ([run] sequence_tokens), "
                "shorter documents, "
                'or [data] rows = "packed"'
            )
        self.blocks_per_epoch = len(self.documents)
        self._epoch = lru_cache(maxsize=2)(self._shuffled)

    def block(self, number: int) -> NDArray[np.int64]:
        """Return row `number`, counted across epochs; -> (row_length,), `PADDING` after the document."""
        epoch, index = divmod(number, self.blocks_per_epoch)
        document = self._epoch(epoch)[index]
        start, end = self.corpus.starts[document : document + 2]
        row = np.full(self.row_length, PADDING, dtype=np.int64)
        row[: end - start] = self.corpus.tokens[start:end]
        return row

    def _shuffled(self, epoch: int) -> NDArray[np.int64]:
        return np.random.default_rng([self.seed, epoch]).permutation(self.documents)


def simplest_documents(corpus: TokenisedCorpus, share_of_tokens: float) -> NDArray[np.int64]:
    """Return the documents with the lowest readability grades that together hold this share of the tokens."""
    order = np.argsort(corpus.grades, kind="stable")
    held = np.cumsum(np.diff(corpus.starts)[order])
    wanted = share_of_tokens * held[-1]
    return order[: int(np.searchsorted(held, wanted)) + 1]
