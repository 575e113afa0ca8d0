"""The trainer: it learns, resumes exactly after a kill, survives a full disk and writes a complete checkpoint."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from mor_core.model.accounting import training_flops
from mor_core.training.optim import make_optimiser
from mor_core.training.recipe import OptimiserSection, load_recipe
from mor_core.training.run_state import TrainingError, TrainingLog, load_state, read_log
from mor_core.training.training import TrainingInterrupted
from tests.models import ROUTED, UNROUTED, tiny_model
from tests.reports.test_write_report import PROVENANCE
from tests.tiny_run import STEPS, assert_same_run, run

PROJECT = Path(__file__).parents[2]


@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
def test_interrupted_and_resumed_run_is_the_uninterrupted_one_bit_for_bit(workspace, optimiser):
    changes = {"overrides": {"optimiser.name": optimiser}}
    run(workspace, "whole", **changes)
    assert run(workspace, "parts", stop_after_steps=4, **changes) is None
    assert run(workspace, "parts", stop_after_steps=7, resume=True, **changes) is None
    run(workspace, "parts", resume=True, **changes)
    assert_same_run(workspace, "whole", "parts")


def test_a_run_that_moved_to_another_machine_names_both(workspace, monkeypatch):
    run(workspace, "runs", stop_after_steps=4)
    monkeypatch.setattr("mor_core.training.training.hardware", lambda _device: "another machine")
    run(workspace, "runs", stop_after_steps=8, resume=True)
    folder = run(workspace, "runs", resume=True)
    provenance = json.loads((folder / "provenance.json").read_text())
    first, second = provenance["hardware"].split(", then ")
    assert second == "another machine" != first
    assert provenance["precision"] in ("fp32", "bf16")  # once, as it was the same


@pytest.mark.slow
def test_killed_run_resumes_bit_for_bit(workspace):
    """The kill comes when a step is in the log and not yet in the state; it waits there."""
    log = workspace / "killed" / "tiny" / "train_log.jsonl"
    code = (
        "import sys, time; from pathlib import Path; from mor_core.training import training\n"
        "workspace = Path(sys.argv[1])\n"
        "class Log(training.TrainingLog):\n"
        "    def append(self, line):\n"
        "        super().append(line)\n"
        "        if line['step'] == 3: time.sleep(600)\n"
        "training.TrainingLog = Log\n"
        "training.train(workspace / 'tiny.toml', data_dir=workspace, runs_folder=workspace / 'killed', "
        "overrides={'run.save_every_s': 1e-9, 'run.validate_every_steps': 1})"
    )
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(workspace)], cwd=PROJECT, env=os.environ | threads
    )
    while process.poll() is None and len(read_log(log)) < 3:
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    saved = load_state(log.parent)
    assert saved is not None
    assert (saved.totals.step, len(read_log(log))) == (2, 3)
    run(workspace, "whole", overrides={"run.validate_every_steps": 1})
    run(workspace, "killed", resume=True, overrides={"run.validate_every_steps": 1})
    assert_same_run(workspace, "whole", "killed")


def test_log_and_checkpoint_record_the_run(workspace):
    folder = run(workspace, "runs")
    lines = read_log(workspace / "runs" / "tiny" / "train_log.jsonl")
    assert lines[-1]["loss"]["lm"] < lines[0]["loss"]["lm"] - 0.5
    config = load_recipe(workspace / "tiny.toml").config()
    per_step = 8 * training_flops(config, 32, [32, 21, 10])
    for number, line in enumerate(lines, start=1):
        assert line["tokens"] == 256 * number
        assert line["training_flops"] == per_step * number
        assert line["loss"]["total"] == pytest.approx(
            line["loss"]["lm"] + 0.001 * line["loss"]["aux"], rel=1e-6
        )
        assert line["depth_shares"] == pytest.approx([11 / 32, 11 / 32, 10 / 32])
        assert all(0 <= share <= 1 for share in line["routing_accuracy"])
        assert len(line["routing_accuracy"]) == 3
        assert line["grad_norm"] > 0
        assert line["tokens_per_s"] > 0
        assert line["peak_memory_bytes"] > 2**20
        assert ("validation" in line) == (number in (5, 10, STEPS))
    assert set(lines[-1]["validation"]) == {"nll_top_k_nats_per_token", "nll_causal_nats_per_token"}

    names = {path.name for path in folder.iterdir()}
    wanted = {"config.json", "tokenizer.json", "recipe.toml", "train_log.jsonl", "provenance.json"}
    assert wanted <= names
    provenance = json.loads((folder / "provenance.json").read_text())
    assert set(PROVENANCE) <= set(provenance)  # what the card reads
    assert provenance["num_tokens"] == STEPS * 256
    assert provenance["training_flops"] == per_step * STEPS
    assert str(workspace) not in json.dumps(provenance)
    assert load_recipe(folder / "recipe.toml") == load_recipe(workspace / "tiny.toml")
    stored = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    state = load_state(workspace / "runs" / "tiny")
    assert torch.equal(stored.lm_head.weight, state.model["lm_head.weight"].bfloat16().float())


def test_accumulated_micro_batches_are_one_large_batch(workspace):
    for runs, micro in (("one", 8), ("four", 2)):
        run(workspace, runs, stop_after_steps=3, overrides={"run.micro_batch": micro})
    one, four = (load_state(workspace / runs / "tiny") for runs in ("one", "four"))
    logs = [read_log(workspace / runs / "tiny" / "train_log.jsonl") for runs in ("one", "four")]
    for mine, theirs in zip(*logs, strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-5)
        assert mine["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-4)
    for name, weight in one.model.items():
        torch.testing.assert_close(weight, four.model[name], atol=2e-4, rtol=0)


def test_saved_run_is_neither_overwritten_nor_mixed_with_another(workspace):
    run(workspace, "runs", stop_after_steps=2)
    with pytest.raises(
        TrainingError, match=r"step 2 of 12; continue with --resume, or delete the folder"
    ):
        run(workspace, "runs")
    with pytest.raises(TrainingError, match=r"differs in run\.seed"):
        run(workspace, "runs", resume=True, overrides={"run.seed": 1})
    with (workspace / "train.txt").open("a", encoding="utf-8") as file:
        file.write("One more.")
    with pytest.raises(TrainingError, match=r"train_sha256"):
        run(workspace, "runs", resume=True)


def test_budget_may_change_until_the_decay_begins(workspace):
    """Shortened on the way, a run is the run that was as short from the start, bit for bit."""
    longer = {"overrides": {"budget.tokens": 40 * 256}}
    run(workspace, "whole")
    run(workspace, "parts", stop_after_steps=9, **longer)
    run(workspace, "parts", resume=True)
    assert_same_run(workspace, "whole", "parts")
    with pytest.raises(TrainingError, match=r"differs in budget\.tokens"):
        run(workspace, "parts", resume=True, **longer)
    run(workspace, "late", stop_after_steps=10)
    with pytest.raises(TrainingError, match=r"differs in budget\.tokens"):
        run(workspace, "late", resume=True, **longer)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_full_disk_while_saving_keeps_the_previous_state(workspace):
    run(workspace, "runs", stop_after_steps=2)
    folder = workspace / "runs" / "tiny"
    before = (folder / "state.pt").read_bytes()
    (folder / "state.partial").symlink_to("/dev/full")
    with pytest.raises(TrainingError, match=r"No space left.*the previous state is kept.*--resume"):
        run(workspace, "runs", stop_after_steps=4, resume=True)
    assert (folder / "state.pt").read_bytes() == before
    run(workspace, "runs", resume=True)
    run(workspace, "whole")
    assert_same_run(workspace, "whole", "runs")


def test_damaged_state_is_named(workspace):
    run(workspace, "runs", stop_after_steps=1)
    state = workspace / "runs" / "tiny" / "state.pt"
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(TrainingError, match=r"state\.pt cannot be read .* delete it"):
        run(workspace, "runs", resume=True)


def test_stop_signal_saves_and_says_how_to_continue(workspace, monkeypatch):
    append = TrainingLog.append

    def stop_at_second(log, line):
        append(log, line)
        if line["step"] == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(TrainingLog, "append", stop_at_second)
    with pytest.raises(
        TrainingInterrupted, match=r"stopped after step 2 of 12; .* continue with --resume"
    ):
        run(workspace, "runs")
    assert load_state(workspace / "runs" / "tiny").totals.step == 2
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_log_line_cut_short_by_a_kill_is_dropped(tmp_path):
    (tmp_path / "train_log.jsonl").write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"ste')
    log = TrainingLog(tmp_path, last_step=2)
    log.append({"step": 3, "again": True})
    log.close()
    assert read_log(log.path) == [{"step": 1}, {"step": 2}, {"step": 3, "again": True}]


def test_weight_decay_spares_norms():
    model = tiny_model()
    optimiser = make_optimiser(model, OptimiserSection(weight_decay=0.1), torch.device("cpu"))
    decayed, spared = optimiser.param_groups
    names = {id(weight): name for name, weight in model.named_parameters()}
    assert decayed["weight_decay"] == 0.1
    assert spared["weight_decay"] == 0
    assert all("norm" in names[id(weight)] for weight in spared["params"])
    assert not any("norm" in names[id(weight)] for weight in decayed["params"])
    assert len(names) == len(decayed["params"]) + len(spared["params"])


@pytest.mark.parametrize("name", ["default", "own attention", "switch", "token choice, mlp"])
def test_muon_takes_the_layers_matrices_and_leaves_the_rest_to_adamw(name):
    model = tiny_model(**(ROUTED | UNROUTED)[name])
    optimiser = make_optimiser(model, OptimiserSection(name="muon"), torch.device("cpu"))
    names = {id(weight): name for name, weight in model.named_parameters()}
    muon, adamw = (
        [names[id(weight)] for group in part.param_groups for weight in group["params"]]
        for part in optimiser.parts
    )
    assert sorted(muon + adamw) == sorted(names.values())
    assert all("proj" in name for name in muon)
    assert not any("proj" in name for name in adamw)


def test_a_pair_of_optimisers_follows_the_rate_also_after_loading():
    model = tiny_model()
    optimiser = make_optimiser(model, OptimiserSection(name="muon"), torch.device("cpu"))
    for _ in range(2):
        before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
        for weight in model.parameters():
            weight.grad = torch.ones_like(weight)
        for group in optimiser.param_groups:
            group["lr"] = 0.0
        optimiser.step()
        assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())
        for group in optimiser.param_groups:
            group["lr"] = 0.1
        optimiser.step()
        assert not any(
            torch.equal(weight, before[name]) for name, weight in model.named_parameters()
        )
        optimiser.load_state_dict(optimiser.state_dict())


@pytest.mark.slow
def test_two_processes_share_one_batch(workspace):
    """Two processes of four sequences take the steps of one process with eight."""
    (workspace / "go.py").write_text(
        "import sys; from pathlib import Path; from accelerate import PartialState\n"
        "from mor_core.training.training import train; "
        "workspace = Path(sys.argv[1])\n"
        "train(workspace / 'tiny.toml', data_dir=workspace, runs_folder=workspace / 'two', stop_after_steps=3)\n"
        "assert PartialState().num_processes == 2\n"
    )
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
    ]
    environment = os.environ | {"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}
    command = [*launch, str(workspace / "go.py"), str(workspace)]
    subprocess.run(command, cwd=PROJECT, env=environment, check=True)
    run(workspace, "one", stop_after_steps=3)
    logs = [read_log(workspace / runs / "tiny" / "train_log.jsonl") for runs in ("one", "two")]
    for mine, theirs in zip(*logs, strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-5)
        assert mine["tokens"] == theirs["tokens"]
        assert mine["training_flops"] == theirs["training_flops"]
        assert mine["depth_shares"] == pytest.approx(theirs["depth_shares"])
        assert mine["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-4)


@pytest.mark.slow
def test_bf16_run_learns_and_keeps_float32_weights(workspace):
    """In a process of its own: Accelerate keeps the precision of a process."""
    code = (
        "import sys; from pathlib import Path; from mor_core.training.training import train; "
        "workspace = Path(sys.argv[1]); "
        "train(workspace / 'tiny.toml', data_dir=workspace, runs_folder=workspace / 'bf16', output=workspace / 'out', "
        "overrides={'run.precision': 'bf16'})"
    )
    subprocess.run([sys.executable, "-c", code, str(workspace)], cwd=PROJECT, check=True)
    lines = read_log(workspace / "bf16" / "tiny" / "train_log.jsonl")
    assert lines[-1]["loss"]["lm"] < lines[0]["loss"]["lm"] - 0.5
    weights = load_state(workspace / "bf16" / "tiny").model.values()
    assert {weight.dtype for weight in weights} == {torch.float32}
    provenance = json.loads((workspace / "out" / "provenance.json").read_text())
    assert provenance["precision"] == "bf16"
