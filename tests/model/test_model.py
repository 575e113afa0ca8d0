"""The model as a Hugging Face citizen, and against the official implementation."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from mor_core import MoRForCausalLM, RoutingRule
from mor_core.interop.official import load_official
from tests.models import tiny_model, token_ids

OFFICIAL = Path(__file__).parents[1] / "fixtures" / "official-expert-middle_cycle-3"


@pytest.mark.parametrize("gathered", [True, False])
def test_official_expert_choice_case_matches(gathered):
    model = load_official(OFFICIAL)
    tensors = load_file(OFFICIAL / "expected.safetensors")
    expected = json.loads((OFFICIAL / "expected.json").read_text())
    ids = tensors["input_ids"]
    with torch.no_grad():
        out = model(ids, labels=ids, routing=RoutingRule.top_k(), gathered=gathered)
    torch.testing.assert_close(out.logits, tensors["logits"], atol=1e-5, rtol=0)
    assert out.recursion_trace.depth().tolist() == expected["depth"]
    losses = expected["train_mode"]
    # The official code divides the T - 1 token losses of a row by T.
    scale = (ids.shape[1] - 1) / ids.shape[1]
    assert out.loss_terms["lm"].item() * scale == pytest.approx(losses["loss"], abs=1e-4)
    assert out.loss_terms["aux"].item() == pytest.approx(losses["sampling_loss"], abs=1e-4)


@pytest.mark.parametrize("tied", [True, False])
def test_auto_class_reloads_the_same_model(tmp_path, tied):
    model = tiny_model(tie_word_embeddings=tied)
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    ids = token_ids(1, 12)
    assert isinstance(again, MoRForCausalLM)
    assert (again.lm_head.weight is again.model.embed_tokens.weight) == tied
    with torch.no_grad():
        assert torch.equal(again(ids).logits, model(ids).logits)


@pytest.mark.parametrize("order", ["mor_core, transformers", "transformers, mor_core"])
def test_auto_classes_know_us_whatever_is_imported_first(order):
    code = f"import {order}; print(transformers.AutoConfig.for_model('mor').model_type)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "mor"


def test_importing_the_package_does_not_import_torch():
    code = "import sys, mor_core; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


@pytest.mark.parametrize(
    "options",
    [
        {"do_sample": False},
        {"do_sample": False, "num_beams": 3},
        {"do_sample": True, "top_k": 20},
    ],
    ids=["greedy", "beam", "sampling"],
)
@pytest.mark.parametrize("strategy", ["recursion_wise", "shared"])
def test_generate_with_cache_equals_without(options, strategy):
    model = tiny_model(kv_strategy=strategy, eos_token_id=None)
    ids = token_ids(2, 8)
    mask = torch.ones_like(ids)
    mask[0, :3] = 0
    texts = []
    for use_cache in (True, False):
        torch.manual_seed(3)
        texts.append(
            model.generate(
                ids, attention_mask=mask, max_new_tokens=12, use_cache=use_cache, **options
            )
        )
    assert texts[0].shape == (2, 20)
    assert torch.equal(*texts)


def test_generated_text_does_not_depend_on_left_padding():
    model = tiny_model(eos_token_id=None)
    ids = token_ids(1, 6)
    padded = torch.cat((torch.zeros(1, 4, dtype=torch.long), ids), 1)
    mask = torch.tensor([[0] * 4 + [1] * 6])
    plain = model.generate(ids, max_new_tokens=10, do_sample=False)
    out = model.generate(padded, attention_mask=mask, max_new_tokens=10, do_sample=False)
    assert torch.equal(plain[:, 6:], out[:, 10:])


def test_generate_takes_a_routing_rule_and_refuses_a_typo():
    model = tiny_model(eos_token_id=None)
    ids = token_ids(1, 6)
    shallow = model.generate(ids, max_new_tokens=8, do_sample=False, routing=RoutingRule.fixed(1))
    with torch.no_grad():
        whole = model(shallow[:, :-1], routing=RoutingRule.fixed(1)).logits
    assert torch.equal(whole.argmax(-1)[:, 5:], shallow[:, 6:])
    with pytest.raises(ValueError, match="ruting"):
        model.generate(ids, ruting=RoutingRule.fixed(1))


def test_total_loss_is_the_weighted_sum_of_its_terms():
    model = tiny_model(router_aux_loss_coef=0.3, router_z_loss_coef=0.2).train()
    ids = token_ids(2, 16)
    out = model(ids, labels=ids)
    terms = out.loss_terms
    total = terms["lm"] + 0.3 * terms["aux"] + 0.2 * terms["z"]
    assert out.loss.item() == pytest.approx(total.item(), rel=1e-6)
    assert out.logits is None


def test_padding_is_not_counted_in_the_loss():
    model = tiny_model().train()
    ids = token_ids(1, 16)
    padded = torch.cat((ids, torch.zeros(1, 6, dtype=torch.long)), 1)
    mask = torch.tensor([[1] * 16 + [0] * 6])
    plain = model(ids, labels=ids)
    out = model(padded, attention_mask=mask, labels=padded)
    for name, term in plain.loss_terms.items():
        torch.testing.assert_close(out.loss_terms[name], term, atol=1e-5, rtol=0)


def test_call_without_input_and_wrong_mask_are_refused():
    model = tiny_model()
    with pytest.raises(ValueError, match="exactly one of input_ids"):
        model()
    with pytest.raises(ValueError, match=r"attention_mask must have shape \(1, 5\)"):
        model(token_ids(1, 5), attention_mask=torch.ones(1, 4))
