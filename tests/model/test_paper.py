"""The paper's own numbers, to the digits that it prints."""

import pytest

from mor_core.model.accounting import kv_bytes, parameter_count
from mor_core.model.paper import (
    TOKENS_PER_STEP,
    paper_config,
    paper_forward_flops_per_token,
    paper_steps,
)


def model(name, recursions=1, kind="vanilla"):
    """A model by the paper's words: vanilla, recursive, MoR, MoR share, MoR token."""
    router = "none"
    if kind.startswith("MoR"):
        router = "token_choice" if kind == "MoR token" else "expert_choice"
    strategy = "shared" if kind == "MoR share" else "recursion_wise"
    return paper_config(name, recursions, router, strategy)


@pytest.mark.parametrize(
    ("name", "recursions", "prelude_shared_coda", "layers"),
    [
        ("135M", 1, (0, 30, 0), 30),
        ("135M", 2, (1, 14, 1), 30),
        ("135M", 3, (1, 10, 1), 32),
        ("360M", 1, (0, 32, 0), 32),
        ("360M", 2, (1, 15, 1), 32),
        ("360M", 3, (1, 10, 1), 32),
        ("360M", 4, (1, 8, 1), 34),
        ("730M", 1, (0, 26, 0), 26),
        ("730M", 3, (1, 8, 1), 26),
        ("1.7B", 1, (0, 24, 0), 24),
        ("1.7B", 2, (1, 11, 1), 24),
        ("1.7B", 3, (1, 8, 1), 26),
        ("1.7B", 4, (1, 6, 1), 26),  # our choice
    ],
)
def test_depths(name, recursions, prelude_shared_coda, layers):
    config = paper_config(name, recursions)
    assert (
        config.num_prelude_layers,
        config.num_layers_per_recursion,
        config.num_coda_layers,
    ) == prelude_shared_coda
    assert config.num_recursions == recursions
    assert config.num_hidden_layers == layers


@pytest.mark.parametrize(
    ("name", "expected"),
    [("135M", 3_540_096), ("360M", 9_832_320), ("730M", 25_168_896), ("1.7B", 67_112_960)],
)
def test_parameters_of_a_layer(name, expected):
    config = paper_config(name)
    more = config.replaced(num_layers_per_recursion=config.num_layers_per_recursion + 1)
    assert parameter_count(more) - parameter_count(config) == expected


@pytest.mark.parametrize(
    ("name", "recursions", "printed"),
    [
        ("135M", 1, "106M"),
        ("135M", 3, "42M"),
        ("360M", 1, "315M"),
        ("360M", 2, "167M"),
        ("360M", 3, "118M"),
        ("360M", 4, "98M"),
        ("730M", 1, "654M"),
        ("730M", 3, "252M"),
        ("1.7B", 1, "1.61B"),
        ("1.7B", 2, "0.87B"),
        ("1.7B", 3, "0.67B"),
    ],
)
def test_parameters_without_embeddings(name, recursions, printed):
    kinds = ["recursive", "MoR", "MoR share", "MoR token"] if recursions > 1 else ["vanilla"]
    for kind in kinds:
        count = parameter_count(model(name, recursions, kind), with_embeddings=False)
        shown = f"{count / 1e9:.2f}B" if printed.endswith("B") else f"{count / 1e6:.0f}M"
        assert shown == printed


@pytest.mark.parametrize(
    ("name", "printed"), [("135M", 28), ("360M", 47), ("730M", 75), ("1.7B", 101)]
)
def test_parameters_of_the_embedding(name, printed):
    config = paper_config(name)
    embedding = parameter_count(config) - parameter_count(config, with_embeddings=False)
    assert round(embedding / 1e6) == printed


@pytest.mark.parametrize(
    ("name", "recursions", "kind", "expected"),
    [
        ("135M", 1, "vanilla", 23_040),
        ("135M", 3, "MoR", 16_896),
        ("135M", 3, "MoR share", 9_216),
        ("360M", 1, "vanilla", 40_960),
        ("360M", 3, "MoR", 28_160),
        ("360M", 3, "MoR share", 15_360),
        ("730M", 1, "vanilla", 53_248),
        ("730M", 3, "MoR", 36_864),
        ("730M", 3, "MoR share", 20_480),
        ("1.7B", 1, "vanilla", 196_608),
        ("1.7B", 3, "MoR", 147_456),
        ("1.7B", 3, "MoR share", 81_920),
    ],
)
def test_cache_bytes_of_a_token_in_bf16(name, recursions, kind, expected):
    """Of 6 tokens 6, 4 and 2 take part, which is the capacity schedule without fractions."""
    config = model(name, recursions, kind)
    counts = [round(6 * share) for share in config.capacity_schedule]
    assert kv_bytes(config, 6, counts, 2) == 6 * expected


@pytest.mark.parametrize(
    ("recursions", "kind", "mega_flops", "predicted", "used"),
    [
        # MFLOP a token; steps at 16.5e18 by the formula, and in the official configurations
        (1, "vanilla", "833.6", "9438.2", 9438),
        (2, "recursive", "833.6", "9438.2", 9438),
        (3, "recursive", "833.6", "9438.2", 9438),
        (4, "recursive", "885.7", "8883.0", 8883),
        (2, "MoR", "623.5", "12618.9", 12619),
        (3, "MoR", "555.6", "14160.0", 14161),
        (4, "MoR", "553.5", "14215.9", 14216),
        (3, "MoR share", "536.2", "14672.0", 14672),
        (3, "MoR token", "555.6", "14160.0", 14161),
    ],
)
def test_flops_and_steps_of_the_360m_models(recursions, kind, mega_flops, predicted, used):
    config = model("360M", recursions, kind)
    assert f"{paper_forward_flops_per_token(config) / 1e6:.1f}" == mega_flops
    assert f"{paper_steps(config):.1f}" == predicted
    assert paper_steps(config) == pytest.approx(used, abs=1.01)


@pytest.mark.parametrize(
    ("recursions", "kind", "printed"), [(2, "MoR", "12.3"), (3, "MoR", "11.0"), (4, "MoR", "11.0")]
)
def test_budget_for_as_many_tokens_as_vanilla_saw(recursions, kind, printed):
    config = model("360M", recursions, kind)
    flops = 9438 * TOKENS_PER_STEP * paper_forward_flops_per_token(config)
    # The paper prints 11.0 for MoR-4, which is 10.95.
    assert flops / 1e18 == pytest.approx(float(printed), abs=0.051)


@pytest.mark.parametrize(
    ("name", "recursions", "kind", "tokens"),
    [
        # Billions of tokens at 2, 5 and 16.5e18
        ("135M", 1, "vanilla", (6.5, 16.1, 53.3)),
        ("135M", 3, "recursive", (6.1, 15.1, 50.0)),
        ("135M", 3, "MoR", (9.2, 23.1, 76.2)),
        ("360M", 1, "vanilla", (2.4, 6.0, 19.8)),
        ("360M", 3, "recursive", (2.4, 6.0, 19.8)),
        ("360M", 3, "MoR", (3.6, 9.0, 29.7)),
        ("730M", 1, "vanilla", (1.2, 3.1, 10.1)),
        ("730M", 3, "recursive", (1.2, 3.1, 10.1)),
        ("730M", 3, "MoR", (1.8, 4.5, 14.9)),
        ("1.7B", 1, "vanilla", (0.6, 1.5, 4.8)),
        ("1.7B", 3, "recursive", (0.5, 1.3, 4.5)),
        ("1.7B", 3, "MoR", (0.8, 2.0, 6.5)),
    ],
)
def test_tokens_of_the_isoflop_table(name, recursions, kind, tokens):
    config = model(name, recursions, kind)
    for budget, expected in zip((2e18, 5e18, 16.5e18), tokens, strict=True):
        found = paper_steps(config, budget) * TOKENS_PER_STEP / 1e9
        assert found == pytest.approx(expected, abs=0.0501)


@pytest.mark.parametrize(
    ("recursions", "kind", "tokens"), [(1, "vanilla", 20), (2, "MoR", 26), (3, "MoR", 27)]
)
def test_tokens_of_the_1_7b_models(recursions, kind, tokens):
    config = model("1.7B", recursions, kind)
    assert round(paper_steps(config, 68.5e18) * TOKENS_PER_STEP / 1e9) == tokens


def test_a_shorter_context_costs_less_attention():
    config = paper_config("360M")
    less = paper_forward_flops_per_token(config) - paper_forward_flops_per_token(config, 1024)
    assert less == 32 * 2 * 960 * 1024
    assert paper_steps(config, tokens_per_step=TOKENS_PER_STEP // 2) == 2 * paper_steps(config)


def test_what_the_paper_has_not_is_refused():
    with pytest.raises(ValueError, match=r"name must be one of 135M, 360M, 730M, 1\.7B, got '7B'"):
        paper_config("7B")
    with pytest.raises(ValueError, match="num_recursions must be at least 2 with a router, got 1"):
        paper_config("360M", 1, "expert_choice")
    with pytest.raises(ValueError, match="no formula"):
        paper_forward_flops_per_token(paper_config("360M", 3, "expert_choice", "shared_updated"))
    with pytest.raises(ValueError, match="no formula"):
        paper_forward_flops_per_token(paper_config("360M").replaced(num_experts=4))
