"""A training run that takes seconds: its recipe and texts, and a check that two runs are equal."""

import torch

from mor_core.training.recipe import parse_recipe, recipe_text
from mor_core.training.run_state import load_state, read_log
from mor_core.training.training import train

STEPS = 12
SECTIONS = {
    "model": {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "num_layers_per_recursion": 1,
        "vocab_size": 300,
        "max_position_embeddings": 32,
    },
    "data": {"train": "train.txt", "valid": "valid.txt"},
    "schedule": {"warmup_tokens": 512},
    "budget": {"tokens": STEPS * 256},
    "run": {
        "name": "tiny",
        "batch_tokens": 256,
        "micro_batch": 4,
        "validate_every_steps": 5,
        "precision": "fp32",  # equal on every processor: the default is bf16 with AMX
    },
}


def story(number):
    animal = ("cat", "dog", "fox", "hen")[number % 4]
    return f"Once there was a {animal}. The {animal} had {number} eggs. It was a happy {animal}.\n"


def write_workspace(folder):
    """Write texts and the recipe."""
    for name, first, last in (("train", 0, 120), ("valid", 120, 124)):
        text = "<|endoftext|>\n".join(story(number) * 3 for number in range(first, last))
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    (folder / "tiny.toml").write_text(recipe_text(parse_recipe(SECTIONS)), encoding="utf-8")
    return folder


def run(workspace, runs, **options):
    return train(
        workspace / "tiny.toml",
        data_dir=workspace,
        runs_folder=workspace / runs,
        output=workspace / f"{runs}-checkpoint",
        **options,
    )


def without_clocks(lines):
    """Return log lines without the fields that depend on the machine's speed and memory."""
    measured = ("tokens_per_s", "elapsed_s", "peak_memory_bytes")
    return [{name: value for name, value in line.items() if name not in measured} for line in lines]


def moments_of(optimiser):
    """Return the optimiser state of every weight, from one optimiser or a pair."""
    return [
        moments
        for part in optimiser.get("parts", [optimiser])
        for moments in part["state"].values()
    ]


def assert_same_run(workspace, first, second):
    one, two = (load_state(workspace / runs / "tiny") for runs in (first, second))
    assert one.totals.step == two.totals.step == STEPS
    assert all(torch.equal(tensor, two.model[name]) for name, tensor in one.model.items())
    for mine, theirs in zip(moments_of(one.optimiser), moments_of(two.optimiser), strict=True):
        assert all(torch.equal(mine[key], theirs[key]) for key in mine)
    logs = [
        without_clocks(read_log(workspace / runs / "tiny" / "train_log.jsonl"))
        for runs in (first, second)
    ]
    assert [line["step"] for line in logs[0]] == list(range(1, STEPS + 1))
    assert logs[0] == logs[1]
