"""Writes the two small tasks of `small_tasks.py` as local task files for lm-evaluation-harness.

For each task, the folder gets its items as JSON lines and a YAML description that refers to them.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from mor_core.evaluation.small_tasks import Item, continuation_items, last_word_items

LAST_WORD, CONTINUATION = "mor_last_word", "mor_continuation"
_VERSION = 1.0


def write_tasks(documents: Sequence[str], folder: Path) -> dict[str, int]:
    """Build both tasks from held-out documents and write them; return how many items each has.

    Raises:
        ValueError: the documents yield no item for a task.
    """
    folder.mkdir(parents=True, exist_ok=True)
    last_words = [
        {"context": item.context, "ending": item.endings[0]} for item in last_word_items(documents)
    ]
    choices = [_choice(item) for item in continuation_items(documents)]
    _write(folder, LAST_WORD, last_words, "loglikelihood", "acc", {"doc_to_target": "ending"})
    fields = {"doc_to_choice": "endings", "doc_to_target": "label"}
    _write(folder, CONTINUATION, choices, "multiple_choice", "acc_bytes", fields)
    return {LAST_WORD: len(last_words), CONTINUATION: len(choices)}


def _choice(item: Item) -> dict[str, Any]:
    return {"context": item.context, "endings": list(item.endings), "label": 0}


def _write(
    folder: Path,
    name: str,
    items: Sequence[dict[str, Any]],
    kind: str,
    metric: str,
    fields: dict[str, str],
) -> None:
    if not items:
        raise ValueError(
            f"the text must hold passages of six sentences for the task {name}, and four documents; it has none"
        )
    data = folder / f"{name}.jsonl"
    lines = [f"{json.dumps(item, ensure_ascii=False)}\n" for item in items]
    data.write_text("".join(lines), encoding="utf-8")
    description = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data.resolve())}},
        "test_split": "test",
        "output_type": kind,
        "doc_to_text": "context",
        "target_delimiter": "",  # the endings begin with their own space
        **fields,
        "metric_list": [{"metric": metric, "aggregation": "mean", "higher_is_better": True}],
        "metadata": {"version": _VERSION},
    }
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(description, sort_keys=False))
