"""Finds text, splits it into documents and grades their readability.

A corpus is a UTF-8 text file with a line `<|endoftext|>` after each document. A Hugging Face data set is first written
to such a file, so that later stages read one format. This module does not tokenise.
"""

import importlib
import itertools
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mor_core.checkpoints.tokenizer import DOCUMENT_START

DATA_VARIABLE = "MOR_DATA"
_WORD = re.compile(r"\w+(?:['\-]\w+)*")
_SENTENCE_END = re.compile(r"[.!?]+")

_HOW_TO = (
    f"Any UTF-8 text file will do, with a line {DOCUMENT_START} between documents: name it in the recipe "
    f"([data] train, valid) and give its folder with --data-dir or the variable {DATA_VARIABLE}. "
    "To train on a Hugging Face data set instead, set [data] hugging_face; "
    "recipes/tinystories-mor3-expert.toml does it with roneneldan/TinyStories"
)


class CorpusError(ValueError):
    """The text cannot be found or read; the message says what to do about it."""


def data_folder(folder: Path | None) -> Path | None:
    """Return `folder` if it is given, else the folder that the environment variable names, else `None`."""
    if folder is not None:
        return folder
    named = os.environ.get(DATA_VARIABLE)
    return Path(named) if named else None


def find_corpus(name: str, folder: Path | None) -> Path:
    """Return the path of a text file, relative to the data folder if one is set.

    Raises:
        CorpusError: the file does not exist; the message says how to use any text or data set.
    """
    searched = data_folder(folder)
    path = Path(name) if searched is None else searched / name
    if path.is_file():
        return path
    where = "no data folder is set" if searched is None else f"the data folder is {searched}"
    raise CorpusError(f"the corpus {name} was not found ({where}). {_HOW_TO}")


def read_documents(path: Path) -> list[str]:
    """Return the documents of a text file; see `stream_documents`."""
    return list(stream_documents(path))


def stream_documents(path: Path) -> Iterator[str]:
    """Yield the documents of a text file, without leading and trailing newlines; skip empty documents.

    Only one document is in memory at a time, so a file may be larger than memory.

    Raises:
        CorpusError: the file is not UTF-8 or holds no document.
    """
    found = False
    lines: list[str] = []
    try:
        with path.open(encoding="utf-8") as file:
            for line in itertools.chain(file, [DOCUMENT_START]):
                if line.rstrip("\n") != DOCUMENT_START:
                    lines.append(line)
                    continue
                document = "".join(lines).strip("\n")
                lines = []
                if document:
                    found = True
                    yield document
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{path} must be UTF-8 text, got an invalid byte ({error.reason}); convert the file to UTF-8"
        ) from error
    if not found:
        raise CorpusError(f"{path} holds no text. {_HOW_TO}")


def fetch_hugging_face(
    name: str,
    split: str,
    column: str,
    max_documents: int | None,
    folder: Path,
    *,
    subset: str = "",
) -> Path:
    """Stream a Hugging Face data set into a corpus file, unless the file exists, and return its path.

    Args:
        name: the data set's name on the Hub.
        split: the split to read.
        column: the column that holds the text.
        max_documents: rows to read; `None` for all.
        folder: the folder of the file.
        subset: the data set's configuration, if it has several.

    Raises:
        CorpusError: the `datasets` package is missing, or the data set has no such column.
    """
    limit = "all" if max_documents is None else str(max_documents)
    full_name = f"{name}--{subset}" if subset else name
    path = folder / f"{full_name.replace('/', '--')}-{split}-{limit}.txt"
    if path.is_file():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=folder, delete=False, encoding="utf-8") as file:
        partial = Path(file.name)
        try:
            for document in _stream(name, subset, split, column, max_documents):
                file.write(f"{document}\n{DOCUMENT_START}\n")
        except BaseException:
            partial.unlink()
            raise
    partial.replace(path)
    return path


def _stream(
    name: str, subset: str, split: str, column: str, max_documents: int | None
) -> Iterator[str]:
    try:
        datasets = importlib.import_module("datasets")
    except ModuleNotFoundError as error:
        raise CorpusError(
            f"the data set {name} needs the package datasets; install it with: pip install datasets"
        ) from error
    rows = datasets.load_dataset(name, subset or None, split=split, streaming=True)
    for index, row in enumerate(rows):
        if index == max_documents:
            return
        if column not in row:
            raise CorpusError(f"text_column must be one of {sorted(row)}, got {column!r}")
        # A separator on a line of its own would split the document in two.
        text = str(row[column]).replace(DOCUMENT_START, "").strip()
        if text:
            yield text


def reading_grade(document: str) -> float:
    """Return the automated readability index, about a US school grade; long sentences and words raise it.

    Source: Smith and Senter, Automated Readability Index, 1967.
    """
    words = _WORD.findall(document)
    sentences = len(_SENTENCE_END.findall(document))
    if not words:
        return 0.0
    letters = sum(map(len, words))
    return 4.71 * letters / len(words) + 0.5 * len(words) / max(1, sentences) - 21.43
