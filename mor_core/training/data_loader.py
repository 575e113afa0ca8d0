"""Prepares a recipe's data and decides which rows each step and process reads.

Shapes: b sequences of a micro-batch, S tokens of a row.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from mor_core.checkpoints.tokenizer import named_tokenizer
from mor_core.training.corpus import data_folder, fetch_hugging_face, find_corpus
from mor_core.training.data import (
    PADDING,
    BlockOrder,
    DocumentOrder,
    TokenisedCorpus,
    cached_tokenizer,
    simplest_documents,
    tokenise_corpus,
)
from mor_core.training.recipe import DataSection, Recipe
from mor_core.training.training_schedule import TrainingSchedule


@dataclass(frozen=True)
class PreparedData:
    """Training tokens, held-out tokens (`None` if the recipe names none), and their tokenizer."""

    tokenizer: PreTrainedTokenizerFast
    train: TokenisedCorpus
    valid: TokenisedCorpus | None


def prepare_data(recipe: Recipe, cache_folder: Path, data_dir: Path | None) -> PreparedData:
    """Find or download the text, train or load the tokenizer, and tokenise the text or load its cached tokens.

    Raises:
        CorpusError: a text is missing, is not UTF-8, or holds no document.
    """
    data, config = recipe.data, recipe.config()
    if data.hugging_face:
        train_path = _fetched(data, data.train_split, cache_folder)
        valid_path = _fetched(data, data.valid_split, cache_folder) if data.valid_split else None
    else:
        train_path = find_corpus(data.train, data_dir)
        valid_path = find_corpus(data.valid, data_dir) if data.valid else None
    length = config.max_position_embeddings
    if data.tokenizer:
        folder = data_folder(data_dir)  # the data folder may hold the tokenizer too
        is_inside = folder is not None and (folder / data.tokenizer).is_dir()
        name = str(folder / data.tokenizer) if folder and is_inside else data.tokenizer
        tokenizer = named_tokenizer(name, config.vocab_size)
    else:
        tokenizer = cached_tokenizer(train_path, config.vocab_size, length, cache_folder)
    return PreparedData(
        tokenizer=tokenizer,
        train=tokenise_corpus(train_path, tokenizer, cache_folder),
        valid=None if valid_path is None else tokenise_corpus(valid_path, tokenizer, cache_folder),
    )


def _fetched(data: DataSection, split: str, cache_folder: Path) -> Path:
    limit = data.max_documents or None
    return fetch_hugging_face(
        data.hugging_face, split, data.text_column, limit, cache_folder, subset=data.subset
    )


RowOrder = BlockOrder | DocumentOrder


def row_order(
    recipe: Recipe, corpus: TokenisedCorpus, seed: int, documents: NDArray[np.int64] | None = None
) -> RowOrder:
    """Return the rows of a corpus in the form that a recipe sets: packed, or one document each.

    Raises:
        ValueError: the corpus is too small, or a document is too long.
    """
    kind = BlockOrder if recipe.data.rows == "packed" else DocumentOrder
    return kind(corpus, recipe.sequence_tokens, seed, documents)


def model_inputs(batch: Tensor, device: torch.device) -> dict[str, Tensor | None]:
    """Return the model's arguments for rows (b, S): ids, labels, and an attention mask if any row has padding."""
    rows = batch.to(device)
    real = rows != PADDING
    ids = rows.masked_fill(~real, 0)
    return {"input_ids": ids, "labels": ids, "attention_mask": None if bool(real.all()) else real}


class StepBlocks:
    """The rows of every step, divided among the processes; they depend on the step alone."""

    def __init__(
        self,
        recipe: Recipe,
        schedule: TrainingSchedule,
        corpus: TokenisedCorpus,
        *,
        num_processes: int = 1,
        process_index: int = 0,
    ) -> None:
        self.per_step = recipe.run.batch_tokens // recipe.sequence_tokens
        self.micro = recipe.run.micro_batch
        self.num_processes = num_processes
        self.process_index = process_index
        self.first_decay_step = schedule.first_decay_step
        self.all = row_order(recipe, corpus, recipe.run.seed)
        self.final: RowOrder | None = None
        if recipe.data.final_documents == "simple":
            simple = simplest_documents(corpus, recipe.data.final_share)
            self.final = row_order(recipe, corpus, recipe.run.seed, simple)

    def micro_batches(self, step: int) -> Iterator[Tensor]:
        """Yield this process's batches (b, S) of a 0-based step; `PADDING` fills a row after its document."""
        order, first = self.all, step * self.per_step
        if self.final is not None and step >= self.first_decay_step:
            order, first = self.final, (step - self.first_decay_step) * self.per_step
        at_once = self.micro * self.num_processes
        for index in range(self.per_step // at_once):
            start = first + index * at_once + self.process_index * self.micro
            rows = [order.block(number) for number in range(start, start + self.micro)]
            yield torch.from_numpy(np.stack(rows))


def held_out_batches(recipe: Recipe, corpus: TokenisedCorpus) -> list[Tensor]:
    """Return the first rows of the held-out text, always the same, as batches (b, S) of at most a micro-batch."""
    size, limit = recipe.run.micro_batch, recipe.run.validation_blocks
    order = row_order(recipe, corpus, seed=0)
    rows = np.stack([order.block(number) for number in range(min(limit, order.blocks_per_epoch))])
    return list(torch.from_numpy(rows).split(size))
