"""Writes further result files of a finished checkpoint: experiments, samples and credits.

`checkpoint_evaluation.py` writes the evaluation, `record_gallery.py` the recorded runs, and `card.py` the model card,
which is made from all of these files.
"""

import importlib.util
import json
from pathlib import Path
from typing import Any

from mor_core.checkpoints.checkpoint import LoadedCheckpoint
from mor_core.checkpoints.variants import with_recursions
from mor_core.common.progress import Report
from mor_core.evaluation.evaluation import evaluate
from mor_core.evaluation.quantise import compare, quantise
from mor_core.generation.samples import make_samples
from mor_core.model.routing_rules import RoutingRule
from mor_core.training.corpus import read_documents
from mor_core.training.data import file_sha256

QUANTISED_DOCUMENTS = 100
CREDIT_FILES = {
    # name beside the training text: name in the checkpoint
    "ATTRIBUTION.tsv": "ATTRIBUTION.tsv",
    "SOURCES.tsv": "SOURCES.tsv",
    "README.md": "CORPUS.md",
}


def write_experiments(loaded: LoadedCheckpoint, text_path: Path, say: Report) -> None:
    """Evaluate one more recursion than trained, and 8-bit weights; writes experiments.json.

    The 8-bit part is left out if torchao is not installed.
    """
    config, documents = loaded.model.config, read_documents(text_path)
    found: dict[str, Any] = {
        "text": text_path.name,
        "text_sha256": file_sha256(text_path),
        "checkpoint_sha256": loaded.info.sha256,
    }
    if config.router.can_go_deeper and config.num_recursions > 1:
        deeper = with_recursions(loaded, config.num_recursions + 1)
        say(f"trying {deeper.model.config.num_recursions} recursions")
        found["deeper"] = {
            "num_recursions": deeper.model.config.num_recursions,
            **evaluate(deeper, documents, RoutingRule.causal()).as_dict(),
        }
    if importlib.util.find_spec("torchao") and loaded.model.device.type == "cpu":
        some = documents[:QUANTISED_DOCUMENTS]
        say("trying 8-bit weights")
        found["int8"] = {
            "num_documents": len(some),
            **compare(loaded, quantise(loaded), some),
        }
    _write_json(loaded.info.path / "experiments.json", found)


def write_samples(loaded: LoadedCheckpoint, training_text: Path, say: Report) -> None:
    """Generate unselected samples and find their overlaps with the training text; writes samples.json."""
    text = training_text.read_text(encoding="utf-8")
    samples = make_samples(loaded, text, on_progress=lambda share: say(f"samples: {share:.0%}"))
    _write_json(loaded.info.path / "samples.json", samples)


def copy_credits(folder: Path, data_folder: Path) -> None:
    """Copy the corpus's credits and description into the checkpoint, as CC BY requires."""
    for name, new_name in CREDIT_FILES.items():
        source = data_folder / name
        if source.is_file():
            (folder / new_name).write_bytes(source.read_bytes())


def _write_json(path: Path, data: dict[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
