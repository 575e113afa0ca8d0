"""Every rule and every kind of model from the command line: what is printed is what the library computes."""

import json

import pytest

from mor_core import RoutingRule, load_checkpoint
from mor_core.checkpoints.checkpoint import save_checkpoint
from mor_core.evaluation.evaluation import evaluate
from tests.conftest import STORY
from tests.models import ROUTED, TOKEN_CHOICE, UNROUTED, UPDATED, tiny_model

KINDS = {
    "expert": {},
    "aux": ROUTED["aux router"],
    "token": TOKEN_CHOICE,
    "control": ROUTED["random selection"],
    "updated": UPDATED["updated keys"],
    "vanilla": UNROUTED["vanilla"],
    "switch": UNROUTED["switch"],
}
NAMES = {"aux": "aux", "token": "argmax", "control": "random", "vanilla": "none", "switch": "none"}


@pytest.fixture(scope="module")
def family(tiny_tokenizer, tmp_path_factory):
    root = tmp_path_factory.mktemp("family")
    for name, fields in KINDS.items():
        save_checkpoint(root / name, tiny_model(vocab_size=300, **fields), tiny_tokenizer)
    return root


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(f"{STORY}\n<|endoftext|>\nThe rabbit slept.\n<|endoftext|>\n")
    return path


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_generates_and_evaluates(mor, family, text, name):
    options = ("--prompt", "Once", "--max-new-tokens", 5, "--temperature", 0, "--json")
    status, out, err = mor("generate", "--checkpoint", family / name, *options)
    assert status == 0, err
    run = json.loads(out)
    assert run["header"]["routing"]["name"] == NAMES.get(name, "causal")
    depths = [token["recursion_depth"] for token in run["tokens"][:-1]]
    loaded = load_checkpoint(family / name)
    config = loaded.model.config
    assert all(1 <= depth <= config.num_recursions for depth in depths)
    num_experts = {len(token["expert_idx"]) for token in run["tokens"][:-1]}
    assert num_experts == {config.num_hidden_layers if name == "switch" else 0}
    status, out, err = mor("eval", "--checkpoint", family / name, "--text", text, "--json")
    assert status == 0, err
    figures = json.loads(out)
    documents = [STORY, "The rabbit slept."]
    expected = evaluate(loaded, documents, RoutingRule.causal())
    assert figures["nll_nats_per_token"] == pytest.approx(expected.nll_nats_per_token)
    assert figures["routing"]["name"] == NAMES.get(name, "causal")


@pytest.mark.parametrize(
    ("name", "options", "rule"),
    [
        ("aux", ("--routing", "aux", "--threshold", "0.3"), RoutingRule.aux(0.3)),
        ("expert", ("--threshold", "0.5,0.2,0.9"), RoutingRule.causal([0.5, 0.2, 0.9])),
        ("expert", ("--routing", "top_k"), RoutingRule.top_k()),
        ("expert", ("--routing", "random", "--seed", 4), RoutingRule.random(4)),
        ("token", ("--routing", "fixed:2", "--gate", "open"), RoutingRule.fixed(2, "open")),
        ("token", ("--routing", "random"), RoutingRule.random()),
    ],
)
def test_every_rule_is_what_the_library_does(mor, family, text, name, options, rule):
    status, out, err = mor(
        "eval", "--checkpoint", family / name, "--text", text, *options, "--json"
    )
    assert status == 0, err
    figures = json.loads(out)
    loaded = load_checkpoint(family / name)
    expected = evaluate(loaded, [STORY, "The rabbit slept."], rule)
    assert figures["nll_nats_per_token"] == pytest.approx(expected.nll_nats_per_token)
    assert figures["depth_histogram"] == expected.depths[1:]
    assert figures["routing"] == rule.describe(loaded.model.config)


@pytest.mark.parametrize("name", ["expert", "token"])
def test_forced_depths_are_obeyed_position_by_position(mor, family, tmp_path, name):
    file = tmp_path / "depths.json"
    file.write_text("[3, 1, null, 2]")
    options = ("--prompt", "Once upon", "--max-new-tokens", 4, "--json")
    forced = ("--routing", f"forced:{file}", "--gate", "open")
    run = json.loads(mor("generate", "--checkpoint", family / name, *options, *forced)[1])
    depths = [token["recursion_depth"] for token in run["tokens"]]
    assert (depths[0], depths[1], depths[3]) == (3, 1, 2)
    assert run["header"]["routing"]["depths"] == [3, 1, None, 2]


def test_more_recursions_are_an_experiment_of_the_command_line(mor, family, text):
    options = ("--checkpoint", family / "expert", "--recursions", 5)
    figures = json.loads(mor("eval", *options, "--text", text, "--json")[1])
    assert len(figures["depth_histogram"]) == 5
    status, _, err = mor(
        "eval", "--checkpoint", family / "token", "--recursions", 5, "--text", text
    )
    assert status == 1
    assert "scores no other depths" in err
