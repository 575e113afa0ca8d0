"""Cases that the official code computed, and the commands that compare with them and convert what it saved."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from mor_core.checkpoints.checkpoint import load_checkpoint
from mor_core.checkpoints.checkpoint_files import weights_sha256
from mor_core.interop.conformance import check_case, find_cases
from mor_core.interop.official import load_official
from tests.interop.test_llama import tiny_llama
from tests.interop.test_official import change_settings, varied_model
from tests.models import TOKEN_CHOICE, token_ids
from tests.official_export import export_official

FIXTURES = Path(__file__).parents[1] / "fixtures"
EXPERT = FIXTURES / "official-expert-middle_cycle-3"
TOKEN = FIXTURES / "official-token-middle_cycle-3"
RECORDED = pytest.mark.parametrize("case", [EXPERT, TOKEN], ids=["expert", "token"])


@pytest.fixture
def case(tmp_path):
    """A copy of a recorded case that a test may spoil."""
    shutil.copytree(TOKEN, tmp_path / "case")
    return tmp_path / "case"


def change_expected(case, **changes):
    path = case / "expected.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def change_tensor(case, name, change):
    tensors = load_file(case / "expected.safetensors")
    tensors[name] = change(tensors[name])
    save_file(tensors, case / "expected.safetensors")


def own_case(folder, **fields):
    """A case that our own model computed."""
    model = varied_model(**fields)
    export_official(model, folder)
    ids = token_ids(2, 16)
    with torch.no_grad():
        out = model.train()(ids, labels=ids)
        model.eval()
        logits = model.lm_head(out.hidden_states)
    save_file({"input_ids": ids, "logits": logits}, folder / "expected.safetensors")
    terms = {name: term.item() for name, term in out.loss_terms.items()}
    losses = {"loss": terms["lm"], "sampling_loss": terms.get("aux", 0.0)}
    expected = {"depth": out.recursion_trace.depth().tolist(), "train_mode": losses}
    (folder / "expected.json").write_text(json.dumps(expected))
    return terms


@RECORDED
def test_recorded_cases_of_the_official_code_match(case):
    result = check_case(case)
    assert result.error is None
    assert result.passed
    assert result.max_logit_difference < 1e-5
    assert result.depth_mismatches == 0
    assert result.max_loss_difference < 1e-5


def test_every_kind_of_difference_fails(case):
    depths = json.loads((case / "expected.json").read_text())["depth"]
    depths[0][:2] = [1 + depth % 3 for depth in depths[0][:2]]
    change_expected(case, depth=depths)
    result = check_case(case)
    assert (result.passed, result.depth_mismatches) == (False, 2)
    change_expected(case, depth=None, train_mode={"balancing_loss": 1.24, "router_z_loss": 0.0})
    result = check_case(case)
    assert (result.passed, result.depth_mismatches) == (False, None)
    assert result.max_loss_difference == pytest.approx(0.0045, abs=1e-4)
    change_expected(case, train_mode={})
    assert check_case(case).passed
    change_tensor(case, "logits", lambda logits: logits + 1.5e-5)
    result = check_case(case)
    assert not result.passed
    assert result.max_loss_difference is None
    assert 1e-5 < result.max_logit_difference < 3e-5


@pytest.mark.parametrize(
    ("loss", "passes"), [(4.985428, True), (4.777702, True), (4.8, False)], ids=["T - 1", "T", "-"]
)
def test_language_loss_may_be_divided_by_all_tokens(case, loss, passes):
    change_expected(case, train_mode={"loss": loss})
    assert check_case(case).passed == passes


def test_losses_that_are_switched_off_are_not_compared_and_others_are(tmp_path):
    terms = own_case(tmp_path, router_z_loss_coef=1e-3)
    assert check_case(tmp_path).passed
    losses = {"loss": terms["lm"], "router_z_loss": terms["z"]}
    change_expected(tmp_path, train_mode=losses)
    assert check_case(tmp_path).passed
    change_expected(tmp_path, train_mode=losses | {"router_z_loss": 0.0})
    assert check_case(tmp_path).max_loss_difference == pytest.approx(terms["z"], rel=1e-3)
    change_settings(tmp_path, mor__z_loss=False)
    assert check_case(tmp_path).passed
    change_expected(tmp_path, train_mode={"balancing_loss": 0.5})
    assert check_case(tmp_path).max_loss_difference == 0.5


def test_what_cannot_be_compared_says_why(case, tmp_path):
    assert "is not a folder" in check_case(tmp_path / "nowhere").error
    change_tensor(case, "input_ids", lambda ids: ids + 200)
    assert "vocab_size=128" in check_case(case).error
    change_tensor(case, "input_ids", lambda ids: ids[:, :5])
    assert "must match" in check_case(case).error
    change_tensor(case, "input_ids", lambda ids: torch.ones(1, 24, dtype=torch.long))
    change_tensor(case, "logits", lambda logits: logits * float("nan"))
    assert "finite" in check_case(case).error
    (case / "expected.safetensors").write_bytes(b"no tensors")
    assert "cannot be read" in check_case(case).error
    (case / "expected.safetensors").unlink()
    assert "expected.safetensors" in check_case(case).error
    (case / "expected.json").write_text("{")
    assert "expected.json" in check_case(case).error
    own_case(tmp_path / "drawn")
    change_settings(tmp_path / "drawn", mor__rand_router=True)
    assert "rand_router" in check_case(tmp_path / "drawn").error


def test_cases_are_found_in_their_parent():
    assert find_cases(FIXTURES) == [EXPERT, TOKEN]
    assert find_cases(EXPERT) == [EXPERT]
    assert find_cases(FIXTURES / "nowhere") == [FIXTURES / "nowhere"]


def test_command_goes_on_after_a_failure_and_says_so_at_the_end(mor, case):
    (case / "conf.yaml").write_text("- a\n")
    status, out, err = mor("conformance", FIXTURES, case, Path(__file__), "--json")
    printed = json.loads(out)
    assert status == 1
    assert printed["passed"] is False
    assert [entry["passed"] for entry in printed["cases"]] == [True, True, False]
    assert set(printed["cases"][0]) == {
        *("folder", "passed", "error"),
        *("max_logit_difference", "depth_mismatches", "max_loss_difference"),
    }
    assert printed["cases"][0]["folder"] == str(EXPERT)
    assert "conf.yaml must hold" in printed["cases"][2]["error"]
    assert "skipped" in err
    status, out, _ = mor("conformance", TOKEN)
    assert status == 0
    assert out.startswith(f"pass  {TOKEN}: logits ")
    assert out.endswith("1 of 1 cases passed\n")


def test_nothing_to_compare_is_no_success(mor):
    assert mor("conformance", Path(__file__))[0] == 1


def logits(model, ids):
    with torch.no_grad():
        return model(ids).logits


@RECORDED
def test_conversion_without_a_tokenizer_keeps_every_bit(mor, tmp_path, case):
    status, out, _ = mor("convert", case, tmp_path / "ours")
    assert status == 0
    assert "--tokenizer" in out
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "ours").eval()
    official = load_official(case)
    ids = load_file(case / "expected.safetensors")["input_ids"]
    assert torch.equal(logits(again, ids), logits(official, ids))
    origin = json.loads((tmp_path / "ours" / "provenance.json").read_text())
    assert origin["source"] == case.name
    assert origin["source_sha256"] == weights_sha256(
        [next(file for file in case.glob("*") if file.stem in ("model", "pytorch_model"))]
    )
    assert origin["conversion"]["settings"]["mor.temp"] == {"value": 1.0, "origin": "given"}
    assert str(tmp_path) not in json.dumps(origin)


@pytest.fixture
def source(tmp_path, tiny_tokenizer):
    """A folder of the official code with a tokenizer, but without its settings."""
    export_official(varied_model(vocab_size=300, **TOKEN_CHOICE), tmp_path / "source", conf=False)
    tiny_tokenizer.save_pretrained(tmp_path / "source")
    return tmp_path / "source"


def test_conversion_with_a_tokenizer_is_a_checkpoint(mor, tmp_path, source):
    status, _, err = mor("convert", source, tmp_path / "ours")
    assert status == 1
    assert "mor.token.alpha" in err
    assert not (tmp_path / "ours").exists()
    chosen = ("--set", "mor.token.coeff=0.2", "--paper-defaults")
    assert mor("convert", source, tmp_path / "ours", *chosen)[0] == 0
    loaded = load_checkpoint(tmp_path / "ours")
    assert loaded.model.config.router_balancing_loss_coef == 0.2
    settings = loaded.info.provenance["conversion"]["settings"]
    assert settings["mor.token.coeff"]["origin"] == "given"
    assert settings["mor.token.alpha"]["origin"] == "paper"
    assert settings["mor.type"] == {"value": "token", "origin": "inferred"}
    assert mor("generate", "--checkpoint", tmp_path / "ours", "--prompt", "Once")[0] == 0


def test_settings_and_tokenizer_may_stand_elsewhere(mor, tmp_path, source, tiny_tokenizer):
    tiny_tokenizer.save_pretrained(tmp_path / "words")
    (source / "tokenizer.json").unlink()
    export_official(varied_model(vocab_size=300, **TOKEN_CHOICE), tmp_path / "with settings")
    options = ("--settings", tmp_path / "with settings" / "conf.yaml")
    options += ("--tokenizer", tmp_path / "words")
    assert mor("convert", source, tmp_path / "ours", *options)[0] == 0
    assert load_checkpoint(tmp_path / "ours").info.provenance["tokenizer"] == "words"


def test_a_llama_is_told_from_a_recursive_model(mor, tmp_path, tiny_tokenizer):
    tiny_llama(tmp_path / "llama", vocab_size=300, num_hidden_layers=8)
    tiny_tokenizer.save_pretrained(tmp_path / "llama")
    assert mor("convert", tmp_path / "llama", tmp_path / "plain")[0] == 0
    assert load_checkpoint(tmp_path / "plain").model.config.num_recursions == 1
    folded = ("--recursions", 3, "--init", "lower", "--router", "expert_choice")
    assert mor("convert", tmp_path / "llama", tmp_path / "folded", *folded)[0] == 0
    assert load_checkpoint(tmp_path / "folded").model.config.num_recursions == 3
    recursive = varied_model(router_type="none")
    export_official(recursive, tmp_path / "recursive", conf=False, file="model.safetensors")
    assert mor("convert", tmp_path / "recursive", tmp_path / "ours")[0] == 0
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "ours").eval()
    assert again.config.num_recursions == 3
    ids = token_ids(1, 9)
    assert torch.equal(logits(again, ids), logits(recursive, ids))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--recursions", 3, "--set", "mor.temp=1"), "use options of one kind"),
        (("--recursions", 3, "--init", "best"), "--init must be stepwise"),
        (("--set", "mor.temp"), "a setting must be NAME=VALUE, got 'mor.temp'"),
        (("--set", "mor.tmp=1"), "did you mean mor.temp?"),
    ],
)
def test_wrong_options_are_refused(mor, tmp_path, source, options, message):
    status, _, err = mor("convert", source, tmp_path / "ours", *options)
    assert status != 0
    assert message in " ".join(err.replace("│", " ").split())
    assert not (tmp_path / "ours").exists()


def test_nothing_else_is_written_over(mor, tmp_path, source):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("dear")
    status, _, err = mor("convert", source, tmp_path / "letters", "--paper-defaults")
    assert status == 1
    assert "holds something else" in err
    assert "must differ from source" in mor("convert", source, source)[2]
    assert "does not exist" in mor("convert", tmp_path / "nowhere", tmp_path / "ours")[2]
    assert (tmp_path / "letters" / "dear.txt").read_text() == "dear"
