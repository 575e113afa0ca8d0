"""Folders of the official code: every variant loads as what it is, and what cannot is refused with the reason."""

import dataclasses
import json
import os

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from transformers import PreTrainedConfig

from mor_core import MoRConfig, RoutingRule
from mor_core.interop.official import load_official, read_official
from mor_core.interop.official_inference import unrolled_layers
from tests.loops import thinned
from tests.models import ROUTED, TOKEN_CHOICE, UNROUTED, UPDATED, tiny_model, token_ids
from tests.official_export import export_official, official_weights, save_weights

WITHOUT_OFFICIAL_FORM = {
    "long prelude and coda",
    "random selection",
    "token choice, every step",
    "token choice, random",
    "switch",
    "recursive switch",
}
PLAIN_ENDS = {"num_prelude_layers": 0, "num_coda_layers": 0}
MORE = {
    "two recursions": {"num_recursions": 2, "num_layers_per_recursion": 3},
    "four recursions": {"num_recursions": 4, "num_layers_per_recursion": 1},
    "own head": {"tie_word_embeddings": False},
    "z-loss": {"router_z_loss_coef": 1e-5},
    "aux router behind a temperature": {
        "router_supervision": "aux_router",
        "router_network": "mlp",
        "router_temperature": 2.0,
    },
    "flat capacities": {"capacity_factors": [1.0, 1.0, 0.25]},
    "cycle, tanh, mlp, additive": {
        **PLAIN_ENDS,
        "router_activation": "tanh",
        "router_network": "mlp",
        "router_gating": "additive",
        "kv_strategy": "shared",
    },
    "own norms": {"recursion_specific": ["norms"]},
    "token choice, four recursions": {**TOKEN_CHOICE, "num_recursions": 4},
    "token choice, cycle, mlp, loss-free": {
        **TOKEN_CHOICE,
        **PLAIN_ENDS,
        "router_network": "mlp",
        "router_balancing": "loss_free",
        "router_temperature": 0.5,
        "router_z_loss_coef": 1e-3,
    },
    "token choice, own norms": {**TOKEN_CHOICE, "recursion_specific": ["norms"]},
    "recursive, cycle": {"router_type": "none", **PLAIN_ENDS},
    "recursive, own head": {"router_type": "none", "tie_word_embeddings": False},
    "recursive, own norms": {"router_type": "none", "recursion_specific": ["norms"]},
    "recursive, middle sequence": {"router_type": "none", "sharing": "sequence"},
    "sequence, plain ends": {"router_type": "none", "sharing": "sequence", **PLAIN_ENDS},
}
VARIANTS = {
    name: fields
    for name, fields in {**ROUTED, **UPDATED, **UNROUTED, **MORE}.items()
    if name not in WITHOUT_OFFICIAL_FORM
}
VARIANTS["vanilla"] = {**VARIANTS["vanilla"], **PLAIN_ENDS}  # plain layers, whatever we call them
NOT_SHOWN = {
    "expert_choice": ("temp", "z_loss", "capacity", "expert.router_func", "expert.gating"),
    "token_choice": ("temp", "z_loss", "token.router_func", "token.alpha", "token.gating"),
    "none": (),
}
each_variant = pytest.mark.parametrize("fields", thinned(VARIANTS, every=3))


def varied_model(**fields):
    """A random model whose norms differ from one another."""
    model = tiny_model(**fields)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name:
                weight.uniform_(0.5, 1.5)
        if model.config.router_control == "random_scores":  # whose router the official code lacks
            for router in model.model.routers:
                for weight in router.network.parameters():
                    weight.zero_()
    return model


def trained_logits(model, ids):
    """Logits under the rule of training; what a control draws is the same each time."""
    torch.manual_seed(5)
    expert = model.config.router_type == "expert_choice"
    rule = RoutingRule.top_k() if expert else RoutingRule.causal()
    with torch.no_grad():
        return model(ids, routing=rule, use_cache=False).logits


def described(config):
    """The architecture, without what has no effect."""
    inherited = {entry.name for entry in dataclasses.fields(PreTrainedConfig)}
    without = inherited | {"head_dim", "pad_token_id"}
    if config.router_activation == "none":
        without.add("router_alpha")
    fields = {
        entry.name: getattr(config, entry.name)
        for entry in dataclasses.fields(MoRConfig)
        if entry.name not in without and (config.has_router or not entry.name.startswith("router_"))
    }
    return fields | {"recursion_specific": sorted(config.recursion_specific)}


def assert_same(loaded, model):
    """Same architecture, same weights, same logits, bit for bit."""
    assert described(loaded.config) == described(model.config)
    state = model.state_dict()
    assert loaded.state_dict().keys() == state.keys()
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, state[name]), name
    ids = token_ids(1, 17)
    assert torch.equal(trained_logits(loaded, ids), trained_logits(model, ids))
    assert not loaded.training


def needed(config):
    """The settings that neither weights nor config.json show, as somebody would give them."""
    from tests.official_export import official_settings

    tree = official_settings(config)["mor"]
    flat = {
        f"{kind}.{name}": value
        for kind in ("expert", "token")
        for name, value in tree[kind].items()
    }
    names = list(NOT_SHOWN[config.router_type])
    if config.router_type == "expert_choice":
        if config.router_activation != "none":
            names.append("expert.alpha")
        if config.router_supervision == "aux_loss":
            names.append("expert.coeff")
    if config.router_type == "token_choice":
        names.append("token.u" if config.router_balancing == "loss_free" else "token.coeff")
    if config.router_z_loss_coef:
        names.append("z_coeff")
    return {f"mor.{name}": (tree | flat)[name] for name in names}


def change_settings(folder, **changes):
    """Change settings in conf.yaml; a double underscore is a dot."""
    path = folder / "conf.yaml"
    tree = yaml.safe_load(path.read_text())
    for name, value in changes.items():
        *parents, last = name.split("__")
        place = tree
        for parent in parents:
            place = place[parent]
        place[last] = value
    path.write_text(yaml.safe_dump(tree))


@each_variant
def test_every_variant_loads_as_it_was(tmp_path, fields):
    model = varied_model(**fields)
    assert_same(load_official(export_official(model, tmp_path)), model)


@each_variant
def test_without_settings_file_what_shows_is_inferred(tmp_path, fields):
    model = varied_model(**fields)
    export_official(model, tmp_path, conf=False)
    given = needed(model.config)
    if model.config.router_control != "none":
        given = {
            f"mor.{name}": given[f"mor.{name}"]
            for name in ("capacity", "expert.alpha", "expert.gating")
        }
    loaded = load_official(tmp_path, given)
    if model.config.router_control != "none":  # its supervision has no effect, and does not show
        loaded.config.router_aux_loss_coef = model.config.router_aux_loss_coef
    assert_same(loaded, model)


@pytest.mark.parametrize("fields", [{}, TOKEN_CHOICE], ids=["expert", "token"])
def test_missing_settings_are_asked_for_at_once(tmp_path, fields):
    model = varied_model(**fields)
    export_official(model, tmp_path, conf=False)
    with pytest.raises(ValueError, match="these official settings are needed") as refused:
        load_official(tmp_path)
    for name in needed(model.config):
        assert name in str(refused.value)
    assert "--set mor." in str(refused.value)
    assert "--paper-defaults" in str(refused.value)


@pytest.mark.parametrize("fields", [{"router_alpha": 0.1}, TOKEN_CHOICE], ids=["expert", "token"])
def test_paper_defaults_fill_what_is_missing_and_are_marked(tmp_path, fields):
    model = varied_model(**fields)
    export_official(model, tmp_path, conf=False)
    official = read_official(tmp_path, {"mor.z_loss": False}, paper_defaults=True)
    assert_same(official.model, model)
    origins = {name: setting.origin for name, setting in official.settings.items()}
    assert origins["mor.temp"] == "paper"
    assert origins["mor.z_loss"] == "given"
    assert origins["recursive.num_recursion"] == "inferred"


def test_given_settings_go_before_the_file(tmp_path):
    export_official(varied_model(), tmp_path)
    loaded = load_official(tmp_path, {"mor.expert.alpha": 0.25, "mor.capacity": "1.0,0.5,0.5"})
    assert loaded.config.router_alpha == 0.25
    assert loaded.config.capacity_factors == [1.0, 0.5, 0.5]


@pytest.mark.parametrize(
    "file",
    [
        "model.safetensors",
        "model-00001-of-00002.safetensors",
        "pytorch_model.bin",
        "pytorch_model-00001-of-00002.bin",
    ],
)
def test_every_kind_of_file_is_read(tmp_path, file):
    model = varied_model()
    assert_same(load_official(export_official(model, tmp_path, file=file)), model)


def later_copies(model):
    """The keys of copies that a file of shared tensors would leave out: all but the first."""
    seen, dropped = set(), []
    for key, tensor in official_weights(model).items():
        if "layers" in key and "router" not in key:
            dropped += [key] if tensor.data_ptr() in seen else []
            seen.add(tensor.data_ptr())
    return [*dropped, "lm_head.weight"] if model.config.tie_word_embeddings else dropped


@pytest.mark.parametrize(
    "name",
    ["default", "cycle", "token choice", "recursive", "sequence", "own attention", "own norms"],
)
def test_copies_that_a_file_left_out_are_put_back(tmp_path, name):
    model = varied_model(**VARIANTS[name])
    dropped = later_copies(model)
    assert len(dropped) > 10
    export_official(model, tmp_path, file="model.safetensors", drop=dropped)
    assert_same(load_official(tmp_path), model)


def test_the_embedding_may_be_stored_as_the_head(tmp_path):
    model = varied_model()
    export_official(model, tmp_path, drop=["model.embed_tokens.weight"])
    assert_same(load_official(tmp_path), model)


def test_notes_beside_shared_tensors_say_what_a_layer_is(tmp_path):
    """As `safetensors.torch.save_model` writes: without them the layers left out could be copies of any other."""
    model = varied_model(router_type="none")
    weights = {key: tensor.clone() for key, tensor in official_weights(model).items()}
    kept = {tensor.data_ptr(): key for key, tensor in reversed(official_weights(model).items())}
    notes = {key: kept[tensor.data_ptr()] for key, tensor in official_weights(model).items()}
    export_official(model, tmp_path, conf=False, file="model.safetensors")
    stored = {key: weights[key] for key in weights if notes[key] == key}
    save_file(stored, tmp_path / "model.safetensors", metadata=notes)
    assert_same(load_official(tmp_path), model)
    save_file(stored, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"recursive\.num_recursion, recursive\.sharing"):
        load_official(tmp_path)
    given = {"recursive.num_recursion": 3, "recursive.sharing": "middle_cycle"}
    assert_same(load_official(tmp_path, given), model)


@pytest.mark.parametrize("sharing", ["cycle", "sequence", "middle_cycle", "middle_sequence"])
@pytest.mark.parametrize("recursions", [2, 3, 4])
def test_sharing_without_a_router_is_found_by_comparing_layers(tmp_path, sharing, recursions):
    ends = int(sharing.startswith("middle_"))
    model = varied_model(
        router_type="none",
        num_recursions=recursions,
        sharing=sharing.removeprefix("middle_"),
        num_prelude_layers=ends,
        num_coda_layers=ends,
    )
    export_official(model, tmp_path, conf=False)
    assert_same(load_official(tmp_path), model)


def test_unrolled_layers_are_those_of_the_reference_table():
    assert unrolled_layers("cycle", 3, 12) == (0, 1, 2, 3) * 3
    assert unrolled_layers("sequence", 2, 12) == (0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5)
    assert unrolled_layers("middle_cycle", 2, 12) == (0, *(1, 2, 3, 4, 5) * 2, 6)
    assert unrolled_layers("middle_sequence", 3, 11) == (0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4)
    assert unrolled_layers("middle_cycle", 3, 12) == ()


def test_feed_forwards_that_differ_are_refused(tmp_path):
    export_official(varied_model(), tmp_path)
    weights = torch.load(tmp_path / "pytorch_model.bin", weights_only=True)
    weights["model.layers.2.block.0.mlp.up_proj.weight"] += 1
    torch.save(weights, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match="feed-forwards of different recursions must be equal"):
        load_official(tmp_path)


def test_one_attention_that_differs_unties_attention(tmp_path):
    """What releases of July 2025 to September 2026 trained."""
    model = varied_model()
    export_official(model, tmp_path)
    weights = torch.load(tmp_path / "pytorch_model.bin", weights_only=True)
    changed = "model.layers.3.block.1.self_attn.v_proj.weight"
    weights[changed] += 1
    torch.save(weights, tmp_path / "pytorch_model.bin")
    loaded = load_official(tmp_path)
    assert loaded.config.recursion_specific == ["attention"]
    state = loaded.state_dict()
    assert torch.equal(state["model.recursion_parts.1.1.self_attn.v_proj.weight"], weights[changed])
    shared = model.state_dict()["model.shared.1.self_attn.v_proj.weight"]
    assert torch.equal(state["model.shared.1.self_attn.v_proj.weight"], shared)
    assert torch.equal(state["model.recursion_parts.0.1.self_attn.v_proj.weight"], shared)


def test_norms_that_the_settings_untie_are_untied_though_equal(tmp_path):
    export_official(varied_model(), tmp_path)
    change_settings(tmp_path, recursive__ln_share=False)
    assert load_official(tmp_path).config.recursion_specific == ["norms"]


def test_weights_in_bf16_become_float32(tmp_path):
    model = varied_model(router_network="mlp").to(torch.bfloat16)
    export_official(model, tmp_path)
    official = read_official(tmp_path)
    assert official.stored_dtype == torch.bfloat16
    assert_same(official.model, model.float())


def test_a_wide_mlp_of_the_official_code_is_as_narrow_as_mlp(tmp_path):
    model = varied_model(router_network="mlp")
    export_official(model, tmp_path)
    change_settings(tmp_path, mor__router_type="wide_mlp")
    assert_same(load_official(tmp_path), model)


def test_official_cache_heeds_updates_with_middle_cycle_alone(tmp_path):
    model = varied_model(kv_strategy="shared", **PLAIN_ENDS)
    export_official(model, tmp_path)
    change_settings(tmp_path, kv_sharing__update_cache=True)
    assert_same(load_official(tmp_path), model)


def test_one_recursion_of_the_official_code_is_a_plain_model(tmp_path):
    model = varied_model(**VARIANTS["vanilla"])
    export_official(model, tmp_path)
    change_settings(tmp_path, recursive__enable=True, recursive__num_recursion=1)
    assert_same(load_official(tmp_path), model)


def test_settings_as_the_official_files_leave_them_out(tmp_path):
    """The shipped files have a null capacity and neither update_cache nor gating."""
    model = varied_model()
    export_official(model, tmp_path)
    tree = yaml.safe_load((tmp_path / "conf.yaml").read_text())
    del tree["kv_sharing"]["update_cache"], tree["mor"]["expert"]["gating"], tree["mor"]["z_loss"]
    tree["mor"]["expert"]["alpha"] = "5e-1"  # which YAML takes for text
    (tmp_path / "conf.yaml").write_text(yaml.safe_dump(tree))
    assert_same(load_official(tmp_path), model)


def test_no_sampling_is_no_auxiliary_loss(tmp_path):
    model = varied_model(router_aux_loss_coef=0.0)
    export_official(model, tmp_path)
    change_settings(tmp_path, mor__expert__sampling=None)
    assert_same(load_official(tmp_path), model)


@pytest.mark.parametrize(
    ("fields", "changes", "message"),
    [
        ({}, {"relaxation__enable": True}, r"relaxation\.enable must be false"),
        (
            TOKEN_CHOICE,
            {"mor__rand_router": True},
            r"rand_router must be false for mor\.type token",
        ),
        (
            VARIANTS["vanilla"],
            {"kv_sharing__enable": True},
            r"kv_sharing\.enable must be false if recursive\.enable is",
        ),
        ({}, {"mor__type": "prototype"}, r"mor\.type must be expert or token, got 'prototype'"),
        ({}, {"mor__capacity": "1.0,0.5"}, "capacity_factors must have num_recursions=3"),
        ({}, {"mor__capacity": "all"}, r"mor\.capacity must be capacities"),
        ({}, {"mor__expert__alpha": "high"}, r"mor\.expert\.alpha must be a number, got 'high'"),
        ({}, {"mor__expert__sampling": "coin"}, r"mor\.expert\.sampling must be aux_loss"),
        ({}, {"mor__z_loss": "maybe"}, r"mor\.z_loss must be true or false"),
        ({}, {"recursive__sharing": "spiral"}, r"recursive\.sharing one of cycle"),
        ({}, {"recursive__num_recursion": 2}, "there is no layer or recursion"),
        ({}, {"recursive__num_recursion": 4}, "num_hidden_layers must be"),
        ({}, {"recursive__num_recursion": 6}, "there is no layer or recursion 4 with 6 recursions"),
        ({}, {"mor__enable": False}, "the weights do not fit the settings"),
        ({}, {"mor__expert__sampling": "aux_router"}, "missing model.routers.0.aux_network"),
        (
            {"router_type": "none"},
            {"recursive__sharing": "middle_sequence"},
            "feed-forwards of different recursions must be equal",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused(tmp_path, fields, changes, message):
    export_official(varied_model(**fields), tmp_path)
    change_settings(tmp_path, **changes)
    with pytest.raises(ValueError, match=message) as refused:
        load_official(tmp_path)
    assert str(refused.value).startswith(tmp_path.name)


def test_names_of_settings_are_checked(tmp_path):
    export_official(varied_model(), tmp_path)
    with pytest.raises(ValueError, match=r"did you mean mor\.expert\.alpha\?"):
        load_official(tmp_path, {"mor.expert.alfa": 0.1})
    (tmp_path / "conf.yaml").write_text("- a\n")
    with pytest.raises(ValueError, match=r"conf\.yaml must hold a YAML mapping"):
        load_official(tmp_path)


def test_unknown_keys_are_named(tmp_path):
    export_official(varied_model(), tmp_path)
    weights = torch.load(tmp_path / "pytorch_model.bin", weights_only=True)
    weights["model.layers.1.recursion_encoding"] = torch.ones(32)
    torch.save(weights, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"not known, got model\.layers\.1\.recursion_encoding"):
        load_official(tmp_path)


class _Runs:
    def __reduce__(self):
        return os.mkdir, ("ran",)


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    export_official(varied_model(), tmp_path)
    torch.save({"model.norm.weight": _Runs()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match="must hold tensors alone"):
        load_official(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_damaged_files_are_named(tmp_path):
    model = varied_model()
    export_official(model, tmp_path)
    whole = (tmp_path / "pytorch_model.bin").read_bytes()
    (tmp_path / "pytorch_model.bin").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="cut off or damaged"):
        load_official(tmp_path)
    torch.save({"model": {"a": torch.ones(1)}}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match="must hold named tensors alone"):
        load_official(tmp_path)
    (tmp_path / "pytorch_model.bin").unlink()
    with pytest.raises(ValueError, match=r"has no model\.safetensors"):
        load_official(tmp_path)
    save_weights(tmp_path, official_weights(model), "pytorch_model-00001-of-00002.bin")
    (tmp_path / "pytorch_model-00002-of-00002.bin").unlink()
    with pytest.raises(ValueError, match=r"lacks pytorch_model-00002-of-00002\.bin"):
        load_official(tmp_path)


def test_numbers_that_promise_too_much_are_refused(tmp_path):
    export_official(varied_model(), tmp_path)
    plain = json.loads((tmp_path / "config.json").read_text())
    for changes, message in (
        ({"num_hidden_layers": 10**9}, r"num_hidden_layers .*must be at most"),
        ({"hidden_size": 2**23, "num_attention_heads": 2**18}, "size mismatch"),
        ({"model_type": "gpt2"}, "model_type llama, got 'gpt2'"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 2.0}}, "rope_parameters"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(plain | changes))
        with pytest.raises(ValueError, match=message):
            load_official(tmp_path)


def test_loaded_weights_are_apart_in_memory(tmp_path):
    """A pickle keeps tied tensors as one; parts that recursions have of their own must not stay so."""
    model = varied_model()
    export_official(model, tmp_path)
    torch.save(official_weights(model), tmp_path / "pytorch_model.bin")
    change_settings(tmp_path, recursive__ln_share=False)
    loaded = load_official(tmp_path)
    places = [weight.data_ptr() for weight in loaded.parameters()]
    assert len(set(places)) == len(places)
    assert all(weight.requires_grad for weight in loaded.parameters())


def test_tensors_of_another_shape_are_refused(tmp_path):
    export_official(varied_model(), tmp_path, file="model.safetensors")
    weights = load_file(tmp_path / "model.safetensors")
    weights["model.norm.weight"] = torch.ones(7)
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="size mismatch"):
        load_official(tmp_path)
