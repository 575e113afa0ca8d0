"""Two small evaluated models that differ only in the seed, with their family file."""

import json
from pathlib import Path

from mor_core.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from mor_core.evaluation.checkpoint_evaluation import write_evaluation
from mor_core.reports.checkpoint_family import write_family
from tests.conftest import STORY
from tests.models import tiny_model
from tests.reports.test_write_report import PROVENANCE

RECIPE = """
[model]
num_recursions = 3

[data]
train = "train.txt"

[budget]
tokens = 1000

[run]
name = "{name}"
title = "Model {seed}"
seed = {seed}
"""


def write_tiny_family(root: Path, tokenizer) -> Path:
    """Write the checkpoints and the family file; return their folder."""
    text = root / "valid.txt"
    text.write_text(f"{STORY}\n<|endoftext|>\n{STORY[60:]}\n")
    for seed, name in enumerate(("first", "second")):
        folder = root / "checkpoints" / name
        save_checkpoint(folder, tiny_model(seed=seed, vocab_size=300), tokenizer)
        (folder / "recipe.toml").write_text(RECIPE.format(name=name, seed=seed))
        (folder / "provenance.json").write_text(json.dumps({**PROVENANCE, "seed": seed}))
        lines = [
            {
                "step": step,
                "tokens": 512 * step,
                "training_flops": 61728 * step,
                "step_executed_flops": 61730,
                "tokens_per_s": 100.0 * step,
                "peak_memory_bytes": 7,
                "elapsed_s": 30.0 * step,
            }
            for step in (1, 2)
        ]
        (folder / "train_log.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        write_evaluation(load_checkpoint(folder), text, lambda line: None)
    write_family(root / "checkpoints")
    return root / "checkpoints"
