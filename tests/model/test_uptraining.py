"""Which source layer ends where when a plain model is folded, by their values."""

import pytest
import torch

from mor_core.model.layer_schedule import layers_per_recursion
from mor_core.model.uptraining import recursive_start, source_layers
from tests.models import tiny_model, token_ids


def numbered_model(layers, **fields):
    """A plain model whose layer i holds nothing but i + 1."""
    model = tiny_model(
        router_type="none",
        num_recursions=1,
        num_prelude_layers=0,
        num_coda_layers=0,
        num_layers_per_recursion=layers,
        **fields,
    )
    for index, layer in enumerate(model.model.shared):
        for weight in layer.parameters():
            torch.nn.init.constant_(weight, index + 1)
    return model


def numbers(layers):
    """The one number that each layer holds."""
    found = []
    for layer in layers:
        values = torch.cat([weight.flatten() for weight in layer.parameters()])
        assert (values == values[0]).all()
        found.append(values[0].item())
    return found


CASES = [
    # init, sharing, middle, recursions, and the shared layers' contents; the 8 source layers hold 1 to 8
    ("stepwise", "cycle", True, 2, [2, 5, 7]),  # from 0: 1, 3.5, 6; halves go to the even
    ("stepwise", "cycle", True, 3, [2, 7]),
    ("stepwise", "sequence", True, 3, [2, 7]),
    ("stepwise", "cycle", False, 2, [1, 3, 6, 8]),  # from 0: 0, 2.33, 4.67, 7
    ("average", "cycle", True, 2, [(2 + 5) / 2, (3 + 6) / 2, (4 + 7) / 2]),
    ("average", "cycle", True, 3, [(2 + 4 + 6) / 3, (3 + 5 + 7) / 3]),
    ("average", "sequence", True, 3, [(2 + 3 + 4) / 3, (5 + 6 + 7) / 3]),
    ("average", "sequence", False, 2, [1.5, 3.5, 5.5, 7.5]),
    ("lower", "cycle", True, 2, [2, 3, 4]),
    ("lower", "sequence", False, 2, [1, 2, 3, 4]),
    ("upper", "cycle", True, 2, [5, 6, 7]),
    ("upper", "cycle", False, 2, [5, 6, 7, 8]),
]


@pytest.mark.parametrize(("init", "sharing", "middle", "recursions", "expected"), CASES)
def test_every_layer_begins_where_the_paper_says(init, sharing, middle, recursions, expected):
    start = recursive_start(
        numbered_model(8), num_recursions=recursions, init=init, sharing=sharing, middle=middle
    )
    assert numbers(start.model.shared) == pytest.approx(expected)
    assert numbers(start.model.prelude) == ([1] if middle else [])
    assert numbers(start.model.coda) == ([8] if middle else [])
    assert start.config.num_hidden_layers == 8
    assert start.config.sharing == sharing


def test_random_draws_sorted_layers_without_repetition():
    drawn = [source_layers(32, 3, "random", seed=seed) for seed in range(20)]
    assert len({str(table) for table in drawn}) > 15
    for table in drawn:
        flat = [number for (number,) in table]
        assert flat == sorted(set(flat))
        assert len(flat) == 10
    flat = {number for table in drawn for (number,) in table}
    assert flat == set(range(1, 31))
    start = recursive_start(numbered_model(8), num_recursions=2, init="random", seed=3)
    expected = [number + 1 for (number,) in source_layers(8, 2, "random", seed=3)]
    assert numbers(start.model.shared) == expected


@pytest.mark.parametrize("middle", [True, False])
@pytest.mark.parametrize("fields", [{}, {"tie_word_embeddings": False, "head_dim": 10}])
def test_one_recursion_stepwise_is_the_model_itself(middle, fields):
    model = tiny_model(
        router_type="none",
        num_recursions=1,
        num_prelude_layers=0,
        num_coda_layers=0,
        num_layers_per_recursion=5,
        **fields,
    )
    start = recursive_start(model, num_recursions=1, init="stepwise", middle=middle)
    ids = token_ids(2, 30)
    with torch.no_grad():
        assert torch.equal(start(ids).logits, model(ids).logits)
    # A copy: training it leaves the model as it was.
    start.model.shared[0].mlp.up_proj.weight.data.zero_()
    start.model.embed_tokens.weight.data.zero_()
    with torch.no_grad():
        assert not torch.equal(start(ids).logits, model(ids).logits)
    assert model.model.embed_tokens.weight.abs().sum() > 0


def test_two_recursions_of_equal_layers_are_the_unrolled_model():
    """Where all tied layers are alike, folding changes nothing, whichever way the shared ones begin."""
    model = tiny_model(
        router_type="none",
        num_recursions=1,
        num_prelude_layers=1,
        num_coda_layers=1,
        num_layers_per_recursion=4,
    )
    layers = model.model.shared
    for first, second in ((0, 2), (1, 3)):
        layers[second].load_state_dict(layers[first].state_dict())
    ids = token_ids(2, 30)
    with torch.no_grad():
        expected = model(ids).logits
        for init in ("average", "lower", "upper"):
            start = recursive_start(model, num_recursions=2, init=init)
            torch.testing.assert_close(start(ids).logits, expected, atol=1e-6, rtol=0)


def test_routers_are_new_and_follow_the_seed():
    model = numbered_model(8)
    before = torch.random.get_rng_state()
    starts = [
        recursive_start(model, num_recursions=3, init="average", router="expert_choice", seed=seed)
        for seed in (1, 1, 2)
    ]
    assert torch.equal(torch.random.get_rng_state(), before)
    first, same, other = (
        torch.cat([weight.flatten() for weight in start.model.routers.parameters()])
        for start in starts
    )
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert len(first) == 3 * 32
    assert first.std().item() == pytest.approx(model.config.initializer_range, rel=0.3)
    assert numbers(starts[0].model.shared) == [4, 5]
    assert starts[0].config.capacity_schedule == pytest.approx((1, 2 / 3, 1 / 3))


def test_type_mode_and_mean_of_a_model_in_bf16():
    model = numbered_model(8).to(torch.bfloat16).train()
    start = recursive_start(model, num_recursions=2, init="average")
    assert start.dtype == torch.bfloat16
    assert start.training
    assert numbers(start.model.shared) == [3.5, 4.5, 5.5]


@pytest.mark.parametrize(
    ("layers", "recursions", "middle", "expected"),
    [(32, 3, True, 10), (34, 4, True, 8), (30, 3, False, 10), (24, 2, True, 11), (3, 1, True, 1)],
)
def test_layers_of_each_recursion(layers, recursions, middle, expected):
    assert layers_per_recursion(layers, recursions, middle) == expected


@pytest.mark.parametrize(
    ("layers", "recursions", "middle", "nearest"),
    [
        (30, 3, True, "got 30; the nearest that divides is 29 or 32"),
        (32, 4, True, "got 32; the nearest that divides is 30 or 34"),
        (32, 3, False, "got 32; the nearest that divides is 30 or 33"),
        (4, 3, True, "got 4; the nearest that divides is 5"),
        (2, 3, True, "got 2; the nearest that divides is 5"),
        (1, 3, True, "got 1; the nearest that divides is 5"),
        (2, 3, False, "got 2; the nearest that divides is 3"),
        (8, 0, False, "num_recursions must be at least 1, got 0"),
    ],
)
def test_layers_that_do_not_divide_are_refused_with_the_nearest(
    layers, recursions, middle, nearest
):
    with pytest.raises(ValueError, match=f"{nearest}$"):
        layers_per_recursion(layers, recursions, middle)


def test_only_plain_models_and_known_ways_are_taken():
    with pytest.raises(ValueError, match='got 3 and "expert_choice"'):
        recursive_start(tiny_model(), num_recursions=2, init="lower")
    with pytest.raises(ValueError, match="nearest that divides is 8 or 11"):
        recursive_start(numbered_model(9), num_recursions=3, init="lower")
    with pytest.raises(ValueError, match=r"init must be one of stepwise.*got 'middle'"):
        recursive_start(numbered_model(8), num_recursions=2, init="middle")
    with pytest.raises(ValueError, match="sharing must be one of cycle, sequence, got 'circle'"):
        recursive_start(numbered_model(8), num_recursions=2, init="lower", sharing="circle")
