"""The `mor` command: what it prints, and how it fails."""

import json
import resource
import subprocess
import sys

import pytest

from mor_core.traces.trace_file import load_trace
from tests.conftest import STORY


def test_checkpoints_are_listed(mor):
    status, out, _ = mor("checkpoints", "--json")
    listed = json.loads(out)
    assert status == 0
    assert [entry["name"] for entry in listed] == ["tiny"]
    assert len(listed[0]["sha256"]) == 64
    assert "tiny (default)" in mor("checkpoints")[1]


def test_generate_prints_each_depth_and_writes_the_trace(mor, tmp_path):
    path = tmp_path / "run.mortrace.json.gz"
    options = ("--prompt", "Once upon a time", "--max-new-tokens", 6, "--seed", 3)
    status, out, _ = mor("generate", *options, "--trace", path)
    assert status == 0
    trace = load_trace(path)
    digits = [character for character in out if character in "₁₂₃"]
    known = [token for token in trace.tokens[1:] if token.recursion_depth]
    assert digits == ["₀₁₂₃"[token.recursion_depth] for token in known]
    assert f"depth 1: {trace.depth_histogram('decode')[0]}" in out
    again = json.loads(mor("generate", *options, "--json")[1])
    assert [token["token_id"] for token in again["tokens"]] == [t.token_id for t in trace.tokens]


def test_generate_stops_at_the_cap(mor):
    options = ("--prompt", "Once upon a time", "--max-new-tokens", 6, "--max-depth", 1)
    trace = json.loads(mor("generate", *options, "--json")[1])
    assert {token["recursion_depth"] for token in trace["tokens"]} == {1, None}
    status, _, err = mor("generate", *options, "--routing", "fixed:2")
    assert status != 0
    assert "max_depth must be left out with routing fixed" in err


def test_eval_prints_one_object(mor, tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(f"{STORY}\n<|endoftext|>\nThe end.\n<|endoftext|>\n")
    status, out, _ = mor("eval", "--text", path, "--routing", "fixed:2", "--json")
    figures = json.loads(out)
    assert status == 0
    assert figures["num_documents"] == 2
    assert figures["depth_histogram"] == [0, figures["num_tokens"], 0]
    for name in (
        "nll_nats_per_token",
        "bits_per_byte",
        "perplexity",
        "mean_recursion_depth",
        "active_flops_per_token",
    ):
        assert figures[name] > 0
    for name, figure in (("nll", "nll_nats_per_token"), ("bits_per_byte", "bits_per_byte")):
        low, high = figures[f"{name}_interval"]
        assert low < figures[figure] < high  # of two documents that differ
    capped = json.loads(mor("eval", "--text", path, "--max-depth", 1, "--json")[1])
    assert capped["depth_histogram"] == [figures["num_tokens"], 0, 0]
    assert capped["routing"]["max_depth"] == 1
    path.write_text("One alone has no interval.")
    alone = json.loads(mor("eval", "--text", path, "--json")[1])
    assert "nll_interval" not in alone


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("generate", "--prompt", " "), "must not be empty"),
        (("generate", "--prompt", "a" * 100_000), "at most"),
        (("generate", "--prompt", "x", "--checkpoint", "nope"), "'nope' was not found"),
        (("generate", "--prompt", "x", "--routing", "topk"), "routing must be causal"),
        (("generate", "--prompt", "x", "--threshold", "1"), "threshold must lie between 0 and 1"),
        (("generate", "--prompt", "x", "--routing", "fixed:9"), "num_recursions=3, got 9"),
        (("generate", "--prompt", "x", "--trace", "/dev/null/x"), "could not be written"),
        (("eval", "--text", "nowhere.txt"), "nowhere.txt"),
        (("train", "nowhere.toml"), "nowhere.toml"),
    ],
)
def test_what_a_user_can_cause_ends_in_one_line(mor, arguments, reason):
    status, _, err = mor(*arguments)
    assert status == 1
    assert reason in err
    assert err.startswith("mor: ")
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [("generate",), ("generate", "--prompt", "x", "--dtype", "int4"), ("nothing",)],
)
def test_wrong_usage_ends_with_status_2(mor, arguments):
    assert mor(*arguments)[0] == 2


def test_control_characters_never_reach_the_terminal(mor):
    _, out, _ = mor("generate", "--prompt", "a\x1b[31m\x07b", "--max-new-tokens", 1)
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "␛" in out


def test_help_comes_without_what_is_slow_to_import():
    """The budget is half a second; a slow machine gets five times that, and others on it do not count."""
    code = (
        "import sys; sys.argv = ['mor', '--help']\n"
        "from mor_core.cli import cli\n"
        "try: cli.main()\n"
        "except SystemExit: sys.exit(len({'torch', 'transformers', 'streamlit', 'pandas'} & set(sys.modules)))"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "generate" in run.stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2.5


def test_a_run_says_nothing_beside_its_text():
    command = [
        sys.executable,
        "-m",
        "mor_core.cli",
        "generate",
        "--prompt=Once",
        "--max-new-tokens=2",
    ]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout.startswith("Once")
    assert run.stderr == ""
