"""A checkpoint's model card and result files are written from what was computed, and nothing else."""

import importlib.util
import json
import re
import shutil

import pytest

from mor_core import RoutingRule
from mor_core.checkpoints.checkpoint import load_checkpoint
from mor_core.checkpoints.variants import with_recursions
from mor_core.evaluation import checkpoint_evaluation
from mor_core.evaluation.checkpoint_evaluation import write_evaluation
from mor_core.evaluation.evaluation import evaluate
from mor_core.generation import samples
from mor_core.generation.samples import longest_overlap
from mor_core.reports import write_report
from mor_core.reports.card import model_card
from mor_core.traces.presets import PRESETS
from tests.conftest import STORY

PROVENANCE = {
    "name": "tiny",
    "title": "A test",
    "command": "mor train recipes/tiny.toml",
    "code_revisions": ["abc", "abd"],
    "data": "train.txt",
    "train_sha256": "0" * 64,
    "seed": 7,
    "step": 2,
    "num_tokens": 1024,
    "training_flops": 123456,
    "elapsed_s": 60.0,
    "peak_memory_bytes": 2**20,
    "precision": "fp32",
    "hardware": "a machine",
    "versions": {"torch": "2"},
}


@pytest.fixture
def reported(tiny_checkpoint, tmp_path, monkeypatch):
    """A checkpoint with all its result files, made with small numbers."""
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "tiny")
    (folder / "provenance.json").write_text(json.dumps(PROVENANCE))
    line = {"step_flops": 61728, "tokens_per_s": 100.0}
    (folder / "train_log.jsonl").write_text(f"{json.dumps(line)}\n" * 2)
    text = tmp_path / "train.txt"
    text.write_text(f"{STORY}\n<|endoftext|>\n")
    (tmp_path / "ATTRIBUTION.tsv").write_text("title\tauthor\n")
    (tmp_path / "README.md").write_text("Stories.\n")
    monkeypatch.setattr(samples, "NUM_SAMPLES", 3)
    monkeypatch.setattr(samples, "NEW_TOKENS", 8)
    monkeypatch.setattr(checkpoint_evaluation, "SWEEP_LOGITS", (0.0,))
    # The presets are longer than the small model's context of 64 byte-sized tokens.
    short = tuple(type(p)(p.title, p.prompt[:20], p.note) for p in PRESETS[:2])
    monkeypatch.setattr(samples, "PRESETS", short)
    loaded = load_checkpoint(folder)
    said = []
    write_evaluation(loaded, text, said.append)
    write_report.write_samples(loaded, text, said.append)
    write_report.copy_credits(folder, tmp_path)
    return folder


def test_every_rule_is_evaluated_and_stands_in_the_card(reported):
    evaluation = json.loads((reported / "evaluation.json").read_text())
    rows = re.findall(r"^\| (\w+(?: \d)?) \| (\w+) \| ([\d.]+) \(", model_card(reported), re.M)
    assert len(evaluation["results"]) == len(rows) == 10
    for result, (name, gate, nll) in zip(evaluation["results"], rows, strict=True):
        assert name.split()[0] == result["routing"]["name"]
        assert gate == result["routing"]["gate"]
        assert float(nll) == pytest.approx(result["nll_nats_per_token"], abs=5e-5)


def test_intervals_depths_and_tasks_stand_in_the_card(reported):
    evaluation, card = json.loads((reported / "evaluation.json").read_text()), model_card(reported)
    for result in evaluation["results"]:
        low, high = result["bits_per_byte_interval"]
        assert f"{result['bits_per_byte']:.4f} ({low:.4f} to {high:.4f})" in card
    for name, group in evaluation["depths"]["by_class"].items():
        assert f"| {name} | {group['num_tokens']:,} | {group['mean_depth']:.3f} |" in card
    agreement = evaluation["router"]["topk_threshold_agreement"]
    assert (
        f"and top-k make the same decision for {agreement[0]:.1%}, {agreement[1]:.1%}, {agreement[2]:.1%} of"
        in card
    )
    for task in evaluation["tasks"].values():
        assert not task["num_items"] or f"| {task['num_items']} | {task['accuracy']:.1%} (" in card


def test_the_card_names_origin_and_speed(reported):
    card = model_card(reported)
    for fact in (
        "`mor train recipes/tiny.toml`",
        "| code | abc, then abd |",
        "| tokens | 1,024 |",
        "a machine",
        "1 MiB",
    ):
        assert fact in card
    assert "median 100 tokens/s" in card
    assert "has the coefficient 0.001. It is averaged" in card


def test_the_card_names_the_run_it_branched_off(reported):
    assert "started from" not in model_card(reported)
    branch = {"name": "trunk", "step": 1, "num_tokens": 1234}
    (reported / "provenance.json").write_text(json.dumps(PROVENANCE | {"branched_from": branch}))
    assert "| started from | the state of trunk at 1,234 tokens, which" in model_card(reported)


def test_experiments_stand_in_the_card_as_measured(reported, tmp_path):
    assert "not trained with" not in model_card(reported)
    loaded, text = load_checkpoint(reported), tmp_path / "train.txt"
    write_report.write_experiments(loaded, text, lambda line: None)
    found, card = json.loads((reported / "experiments.json").read_text()), model_card(reported)
    again = evaluate(with_recursions(loaded, 4), [STORY], RoutingRule.causal())
    assert found["deeper"]["nll_nats_per_token"] == pytest.approx(again.nll_nats_per_token)
    assert (
        f"With 4 recursions, the last one scored by the last trained router: {again.nll_nats_per_token:.4f}"
        in card
    )
    if importlib.util.find_spec("torchao"):
        result = found["int8"]
        row = f"| {result['nll_nats_per_token']['int8']:.4f} | {result['unchanged_depth_share']:.2%} |"
        assert row in card


def test_samples_name_their_seed_and_overlap(reported):
    made = json.loads((reported / "samples.json").read_text())["samples"]
    assert [sample["seed"] for sample in made] == [0, 1, 2]
    assert (reported / "ATTRIBUTION.tsv").read_text() == "title\tauthor\n"
    assert (reported / "CORPUS.md").read_text() == "Stories.\n"


@pytest.mark.parametrize(
    ("text", "source", "expected"),
    [
        ("the cat sat down", "a dog and the cat sat up", "the cat sat"),
        ("one two three", "four five", ""),
        ("x the big red ball y", "the big red ball", "the big red ball"),
        ("a b c d e", "b c x c d e", "c d e"),
        ("same", "same", "same"),
    ],
)
def test_longest_overlap_by_hand(text, source, expected):
    assert longest_overlap(text, source) == expected


def test_longest_overlap_equals_brute_force():
    words = ["a", "b", "a", "c", "b", "a", "a", "b", "c", "a", "c", "c", "b", "a"]
    source = "c a a b c b b a c a a c b"
    runs = [
        " ".join(words[first:last])
        for first in range(len(words))
        for last in range(first + 1, len(words) + 1)
    ]
    longest = max(len(run.split()) for run in runs if run in source)
    assert len(longest_overlap(" ".join(words), source).split()) == longest
