"""What is bundled is what its papers say it is."""

import functools
import json
import re

from mor_core.checkpoints.checkpoint import checkpoint_root, list_checkpoints
from mor_core.evaluation.checkpoint_evaluation import evaluation_rules
from mor_core.generation.samples import NUM_SAMPLES
from mor_core.reports.checkpoint_family import FAMILY_FILE, describe_family
from mor_core.reports.write_report import CREDIT_FILES
from mor_core.traces.trace import TRACE_SUFFIX
from mor_core.traces.trace_file import load_trace
from tests.loops import for_each

BUNDLED = list_checkpoints()
each_checkpoint = for_each(BUNDLED, lambda info: info.name)


@functools.cache
def recorded_runs(folder):
    """The checkpoint's hash and the decode tokens at each depth, of every trace of a checkpoint."""
    traces = map(load_trace, sorted((folder / "traces").glob(f"*{TRACE_SUFFIX}")))
    return [(trace.header.checkpoint_sha256, trace.depth_histogram("decode")) for trace in traces]


def test_there_is_a_checkpoint():
    assert BUNDLED


@each_checkpoint
def test_shards_are_small_and_stored_in_bf16(info):
    shards = list(info.path.glob("*.safetensors"))
    assert all(shard.stat().st_size <= 15 * 10**6 + 2**16 for shard in shards)
    parameters = info.num_bytes / 2
    assert info.num_bytes < 300 * 2**20
    assert parameters > 10**6


@each_checkpoint
def test_papers_are_those_of_these_weights(info):
    assert info.evaluation["checkpoint_sha256"] == info.sha256
    assert {sha256 for sha256, _ in recorded_runs(info.path)} == {info.sha256}
    log = (info.path / "train_log.jsonl").read_text().splitlines()
    last = json.loads(log[-1])
    assert last["tokens"] == info.provenance["num_tokens"]
    assert last["training_flops"] == info.provenance["training_flops"]
    assert [json.loads(line)["step"] for line in log] == list(range(1, last["step"] + 1))


@each_checkpoint
def test_every_rule_is_evaluated(info):
    from mor_core import MoRConfig

    config = MoRConfig.from_pretrained(info.path)
    rules = [rule.describe(config) for rule in evaluation_rules(config)]
    for rule in rules:
        rule.pop("draws", None)  # evaluations of the first release drew by position alone
    found = [dict(result["routing"]) for result in info.evaluation["results"]]
    for routing in found:
        routing.pop("draws", None)
    assert found == rules


@each_checkpoint
def test_card_says_what_the_files_say(info):
    """The card is written anew from the files beside it and must come out the same."""
    from mor_core.reports.card import model_card

    assert (info.path / "README.md").read_text(encoding="utf-8") == model_card(info.path)


def test_the_familys_file_says_what_the_folders_say():
    """It is put together anew from the checkpoints' papers and must come out the same."""
    found = json.loads((checkpoint_root() / FAMILY_FILE).read_text(encoding="utf-8"))
    assert found == json.loads(json.dumps(describe_family(checkpoint_root())))


@each_checkpoint
def test_samples_are_complete_and_unselected(info):
    samples = json.loads((info.path / "samples.json").read_text())["samples"]
    assert [sample["seed"] for sample in samples] == list(range(NUM_SAMPLES))
    assert all(sample["longest_overlap"]["text"] in sample["text"] for sample in samples)


@each_checkpoint
def test_credits_travel_with_the_weights(info):
    for name in CREDIT_FILES.values():
        assert (info.path / name).stat().st_size > 1000


@each_checkpoint
def test_recorded_runs_show_adaptive_depth(info):
    runs = recorded_runs(info.path)
    assert len(runs) >= 3
    recursions = info.config["num_recursions"]
    if info.config["router_type"] == "none":
        return
    totals = [0] * recursions
    for _, counts in runs:
        totals = [old + new for old, new in zip(totals, counts, strict=True)]
    assert all(totals), totals
    assert max(totals) <= 0.7 * sum(totals), totals


@each_checkpoint
def test_nothing_bundled_names_a_machine_path(info):
    for path in info.path.iterdir():
        if path.suffix in (".json", ".jsonl", ".md", ".toml"):
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"(/home/|/root/|/work/|/tmp/|/Users/)", text), path.name
