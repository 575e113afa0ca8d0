"""lm-evaluation-harness: the adapter answers as the library does, and the harness's figures equal ours."""

import importlib.util
import json
import sys
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import yaml

from mor_core import RoutingRule
from mor_core.checkpoints.checkpoint import load_checkpoint
from mor_core.evaluation.evaluation import evaluate
from mor_core.evaluation.lm_eval_adapter import CausalAnswers, task_manager
from mor_core.evaluation.lm_eval_tasks import CONTINUATION, LAST_WORD, write_tasks
from mor_core.evaluation.small_tasks import score_pairs, score_tasks
from mor_core.generation.generation import generate_with_trace
from tests.evaluation.test_small_tasks import DOCUMENTS

HAS_HARNESS = importlib.util.find_spec("lm_eval") is not None


@dataclass
class Asked:
    args: tuple


def greedy(loaded, prompt, count):
    updates = generate_with_trace(loaded, prompt, max_new_tokens=count, temperature=0)
    ids = [update.newest.token_id for update in updates if update.newest]
    return loaded.tokenizer.decode(ids, skip_special_tokens=True)


def test_answers_are_the_librarys(tiny_loaded):
    answers, rule = CausalAnswers(tiny_loaded), RoutingRule.causal()
    pairs = [("Once there was", " a cat."), ("", "The end."), ("The fox dug", " all day.")]
    found = answers.loglikelihood([Asked(pair) for pair in pairs])
    assert found == score_pairs(tiny_loaded, pairs, rule)
    texts = [DOCUMENTS[0], "A cat."]
    nats = answers.loglikelihood_rolling([Asked((text,)) for text in texts])
    assert nats == [-value for value in evaluate(tiny_loaded, texts, rule).nll_nats]
    # A short text fits in one window, so both questions say the same of it.
    ((alone, _),) = answers.loglikelihood([Asked(("", "A cat."))])
    assert nats[1] == pytest.approx(alone, abs=1e-4)


def test_writing_is_greedy_and_stops_before_the_stop_text(tiny_loaded):
    answers, whole = CausalAnswers(tiny_loaded), greedy(tiny_loaded, "Once", 12)
    assert len(whole) > 3
    assert answers.generate_until([Asked(("Once", {"until": [], "max_gen_toks": 12}))]) == [whole]
    stop = whole[2:4]
    cut = answers.generate_until([Asked(("Once", {"until": [stop, ""], "max_gen_toks": 12}))])
    assert cut == [whole[: whole.find(stop)]]


def test_a_long_text_loses_its_beginning(tiny_loaded):
    context = tiny_loaded.model.config.max_position_embeddings
    settings = {"until": "\n\n", "max_gen_toks": 1000}
    (written,) = CausalAnswers(tiny_loaded).generate_until([Asked(("so " * context, settings))])
    assert isinstance(written, str)


def test_what_cannot_be_asked_is_refused(tiny_loaded):
    answers = CausalAnswers(tiny_loaded)
    with pytest.raises(ValueError, match="generate_until is greedy here"):
        answers.generate_until([Asked(("Once", {"do_sample": True}))])
    with pytest.raises(ValueError, match="must have between 1 and 63 tokens, got 0"):
        answers.loglikelihood([Asked(("Once", ""))])


def test_tasks_are_files_that_name_each_other(tmp_path):
    assert write_tasks(DOCUMENTS, tmp_path) == {LAST_WORD: 5, CONTINUATION: 5}
    for name, kind in ((LAST_WORD, "loglikelihood"), (CONTINUATION, "multiple_choice")):
        task = yaml.safe_load((tmp_path / f"{name}.yaml").read_text())
        assert (task["task"], task["output_type"]) == (name, kind)
        path = tmp_path / f"{name}.jsonl"
        assert task["dataset_kwargs"]["data_files"]["test"] == str(path)
        items = [json.loads(line) for line in path.read_text().splitlines()]
        assert all({task["doc_to_text"], task["doc_to_target"]} <= set(item) for item in items)
    with pytest.raises(ValueError, match="passages of six sentences for the task mor_last_word"):
        write_tasks(["Too short."], tmp_path)


def test_without_the_extra_the_message_says_how_to_install_it(mor, monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    status, _, err = mor("lm-eval", LAST_WORD)
    assert status == 1
    assert 'pip install "mor-explorer[lm-eval]"' in err


@pytest.mark.skipif(not HAS_HARNESS, reason="needs the extra lm-eval (requirements-lm-eval.txt)")
def test_the_harness_finds_what_we_find(mor, tiny_checkpoint, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("\n<|endoftext|>\n".join(DOCUMENTS) + "\n<|endoftext|>\n")
    status, out, err = mor("tasks", tmp_path / "tasks", "--text", text)
    assert status == 0, err
    assert "mor_last_word.yaml: 5 items" in out
    options = ("--tasks-folder", tmp_path / "tasks", "--json")
    status, out, err = mor("lm-eval", LAST_WORD, CONTINUATION, *options)
    assert status == 0, err
    found = json.loads(out.splitlines()[-1])["tasks"]
    loaded = load_checkpoint(tiny_checkpoint)
    ours = score_tasks(loaded, DOCUMENTS, RoutingRule.causal())
    assert found[LAST_WORD] == {"num_items": 5, "acc": ours["last_word"]["accuracy"]}
    assert found[CONTINUATION]["acc_bytes"] == ours["continuation"]["accuracy"]


@pytest.mark.parametrize("in_folder", [True, False])
def test_tasks_are_looked_for_in_the_folder_first(tmp_path, in_folder):
    """The harness's own thousands are read only for a task that the folder lacks."""
    made = []

    def manager(include_path, include_defaults=True):
        made.append((include_path, include_defaults))
        known = ["ours"] if include_path else []
        return SimpleNamespace(all_tasks=[*known, "theirs"] if include_defaults else known)

    tasks = SimpleNamespace(TaskManager=manager)
    folder = str(tmp_path)
    task_manager(tasks, ["ours"] if in_folder else ["ours", "theirs"], tmp_path)
    assert made == [(folder, False)] + [(folder, True)] * (not in_folder)
    with pytest.raises(ValueError, match="knows no task other; write our own two with: mor tasks"):
        task_manager(tasks, ["other"], None)
