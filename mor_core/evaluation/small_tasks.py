"""Two small tasks that need no download, built from held-out documents.

`last_word`, after LAMBADA (arXiv 1606.06031): greedy decoding must produce the last word of a passage, a word that
occurs earlier in the passage. `continuation`, after HellaSwag (arXiv 1905.07830): the true next sentence must be more
probable per byte than three sentences from other documents.

Items are chosen deterministically; the wrong sentences are those nearest in length to the true one.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from mor_core.checkpoints.checkpoint import LoadedCheckpoint
from mor_core.checkpoints.tokenizer import DOCUMENT_START_ID, encode_text
from mor_core.evaluation.bootstrap import ratio_interval
from mor_core.model.routing_rules import RoutingRule

CONTEXT_SENTENCES = 5
CHOICES_PER_DOCUMENT = 4  # each item is scored with four endings
NUM_CHOICES = 4
_BATCH_POSITIONS = 4096
_SENTENCE = re.compile(r"[^.!?]+[.!?]+[\"')]*\s*")
_WORD = re.compile(r"[A-Za-z]+")


@dataclass(frozen=True)
class Item:
    """A text and its possible endings, of which the first is the true one.

    Attributes:
        document: index of the document that it is from.
        context: the text before the ending.
        endings: one ending for `last_word`, four for `continuation`.
    """

    document: int
    context: str
    endings: tuple[str, ...]


def last_word_items(documents: Sequence[str]) -> list[Item]:
    """Return passages whose last word has at least four letters and occurs earlier in the passage."""
    items = []
    for number, passage in _passages(documents, None):
        text = "".join(passage).rstrip()
        words = list(_WORD.finditer(text))
        last = words[-1] if words else None
        if last is None or len(last.group()) < 4 or not last.group().islower():
            continue
        if last.group() in {word.group() for word in words[:-1]}:
            space = last.start() - 1
            if space > 0 and text[space] == " ":
                items.append(Item(number, text[:space], (text[space : last.end()],)))
    return items


def continuation_items(documents: Sequence[str]) -> list[Item]:
    """Return passages without their last sentence, with that sentence and three from other documents as endings."""
    passages = _passages(documents, CHOICES_PER_DOCUMENT)
    pool = [(number, passage[-1].rstrip()) for number, passage in passages]
    items = []
    for index, (number, passage) in enumerate(passages):
        context, true = "".join(passage[:-1]), pool[index][1]
        spaces = context[len(context.rstrip()) :]
        others = [
            (abs(len(text) - len(true)), (other - index) % len(pool), text)
            for other, (source, text) in enumerate(pool)
            if source != number and text != true
        ]
        wrong = [text for _, _, text in sorted(others)[: NUM_CHOICES - 1]]
        if len(wrong) == NUM_CHOICES - 1:
            endings = tuple(spaces + text for text in (true, *wrong))
            items.append(Item(number, context.rstrip(), endings))
    return items


def score_tasks(
    loaded: LoadedCheckpoint, documents: Sequence[str], rule: RoutingRule
) -> dict[str, Any]:
    """Return accuracy, number of items, chance level and 95% interval over documents for both tasks.

    Raises:
        ValueError: the rule does not fit the model.
    """
    rule.check(loaded.model.config)
    found: dict[str, Any] = {}
    for name, items in (
        ("last_word", last_word_items(documents)),
        ("continuation", continuation_items(documents)),
    ):
        scored = _score_endings(loaded, items, rule)
        if name == "last_word":
            correct = [all_greedy for ((_, all_greedy),) in scored]
        else:
            correct = [max(range(len(s)), key=lambda i: s[i][0]) == 0 for s in scored]
        sums: dict[int, list[int]] = {}
        for item, right in zip(items, correct, strict=True):
            total = sums.setdefault(item.document, [0, 0])
            total[0], total[1] = total[0] + int(right), total[1] + 1
        found[name] = {
            "num_items": len(items),
            "accuracy": sum(correct) / len(items) if items else None,
            "interval": _interval(sums.values()) if items else None,
            "chance": 1 / NUM_CHOICES if name == "continuation" else None,
        }
    return found


def _interval(sums: Iterable[list[int]]) -> list[float]:
    rights, totals = zip(*sums, strict=True)
    return ratio_interval(rights, totals)


def _passages(documents: Sequence[str], limit: int | None) -> list[tuple[int, list[str]]]:
    """Split each document into passages of six sentences; return all, or at most `limit` of each document."""
    size = CONTEXT_SENTENCES + 1
    found = []
    for number, text in enumerate(documents):
        sentences = _SENTENCE.findall(text)
        starts = range(0, len(sentences) - size + 1, size)
        found += [(number, sentences[at : at + size]) for at in starts[:limit]]
    return found


def _score_endings(
    loaded: LoadedCheckpoint, items: Sequence[Item], rule: RoutingRule
) -> list[list[tuple[float, bool]]]:
    """Return for every ending its log-probability per byte, and whether greedy decoding produces it."""
    pairs = [(item.context, ending) for item in items for ending in item.endings]
    scores = iter(score_pairs(loaded, pairs, rule))
    scored: list[list[tuple[float, bool]]] = []
    for item in items:
        found = [(ending, *next(scores)) for ending in item.endings]
        scored.append([(total / len(ending.encode()), greedy) for ending, total, greedy in found])
    return scored


@torch.inference_mode()
def score_pairs(
    loaded: LoadedCheckpoint, pairs: Sequence[tuple[str, str]], rule: RoutingRule
) -> list[tuple[float, bool]]:
    """Return the log-probability of each ending after its context, and whether greedy decoding produces it.

    Args:
        loaded: model and tokenizer.
        pairs: context and ending. A document start precedes the context, which is truncated at its beginning if the
            pair does not fit the model's context.
        rule: the routing rule.

    Raises:
        ValueError: an ending is empty or does not fit in the model's context.
    """
    context = loaded.model.config.max_position_embeddings
    rows: list[tuple[list[int], int]] = []  # ids, tokens of the ending
    for before, ending in pairs:
        after = encode_text(loaded.tokenizer, ending)
        if not 0 < len(after) < context:
            raise ValueError(
                f"an ending must have between 1 and {context - 1} tokens, got {len(after)}: {ending[:40]!r}"
            )
        ids = [DOCUMENT_START_ID, *encode_text(loaded.tokenizer, before), *after]
        # Truncated at the beginning, as in generation.
        rows.append((ids[-context:], len(after)))
    scored: list[tuple[float, bool]] = []
    width = max((len(ids) for ids, _ in rows), default=1)
    size = max(1, _BATCH_POSITIONS // width)
    for start in range(0, len(rows), size):
        batch = rows[start : start + size]
        length = max(len(ids) for ids, _ in batch)
        padded = [ids + [0] * (length - len(ids)) for ids, _ in batch]
        mask = [[1] * len(ids) + [0] * (length - len(ids)) for ids, _ in batch]
        given = torch.tensor(padded, device=loaded.model.device)
        output = loaded.model(
            given,
            attention_mask=torch.tensor(mask, device=given.device),
            use_cache=False,
            routing=rule,
        )
        log_probs = output.logits[:, :-1].float().log_softmax(-1)
        chosen = log_probs.gather(-1, given[:, 1:, None])[..., 0].cpu()
        greedy = (log_probs.argmax(-1) == given[:, 1:]).cpu()
        for row, (ids, count) in enumerate(batch):
            part = slice(len(ids) - 1 - count, len(ids) - 1)
            scored.append((float(chosen[row, part].double().sum()), bool(greedy[row, part].all())))
    return scored
