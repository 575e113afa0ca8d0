"""Prepares a recipe's data, and says which blocks each step and process reads.

Shapes: b sequences of a micro-batch, S context length.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from mor_core.checkpoints.tokenizer import named_tokenizer
from mor_core.training.corpus import fetch_hugging_face, find_corpus
from mor_core.training.data import (
    BlockOrder,
    TokenisedCorpus,
    cached_tokenizer,
    simplest_documents,
    tokenise_corpus,
)
from mor_core.training.recipe import DataSection, Recipe
from mor_core.training.training_schedule import Plan


@dataclass(frozen=True)
class PreparedData:
    """Tokens to train on, held-out tokens if the recipe names any, and their tokenizer."""

    tokenizer: PreTrainedTokenizerFast
    train: TokenisedCorpus
    valid: TokenisedCorpus | None


def prepare_data(recipe: Recipe, cache_folder: Path, data_dir: Path | None) -> PreparedData:
    """Find or fetch the text, train or load the tokenizer, tokenise or load the tokens.

    Raises:
        CorpusError: the text is missing or no text.
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
        tokenizer = named_tokenizer(data.tokenizer, config.vocab_size)
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


class StepBlocks:
    """The blocks of every step, shared out among processes; a function of the step alone."""

    def __init__(
        self,
        recipe: Recipe,
        plan: Plan,
        corpus: TokenisedCorpus,
        *,
        num_processes: int = 1,
        process_index: int = 0,
    ) -> None:
        length = recipe.config().max_position_embeddings
        self.per_step = recipe.run.batch_tokens // length
        self.micro = recipe.run.micro_batch
        self.num_processes = num_processes
        self.process_index = process_index
        self.first_decay_step = plan.first_decay_step
        self.all = BlockOrder(corpus, length, recipe.run.seed)
        self.final: BlockOrder | None = None
        if recipe.data.final_documents == "simple":
            simple = simplest_documents(corpus, recipe.data.final_share)
            self.final = BlockOrder(corpus, length, recipe.run.seed, simple)

    def micro_batches(self, step: int) -> Iterator[Tensor]:
        """Yield this process's batches (b, S) of a 0-based step."""
        order, first = self.all, step * self.per_step
        if self.final is not None and step >= self.first_decay_step:
            order, first = self.final, (step - self.first_decay_step) * self.per_step
        at_once = self.micro * self.num_processes
        for index in range(self.per_step // at_once):
            start = first + index * at_once + self.process_index * self.micro
            rows = [order.block(number) for number in range(start, start + self.micro)]
            yield torch.from_numpy(np.stack(rows))


def held_out_batches(corpus: TokenisedCorpus, length: int, size: int, limit: int) -> list[Tensor]:
    """Return the same first blocks each time, as batches of at most `size` sequences."""
    order = BlockOrder(corpus, length, seed=0)
    rows = np.stack([order.block(number) for number in range(min(limit, order.blocks_per_epoch))])
    return list(torch.from_numpy(rows).split(size))
