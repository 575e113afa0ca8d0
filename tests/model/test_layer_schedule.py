"""The table of layer calls, against the sharing maps of the paper."""

import pytest

from mor_core import MoRConfig, layer_schedule
from mor_core.model.layer_schedule import num_cache_slots


def unrolled(**fields):
    """Unique layer ids in order, prelude first, as the paper's Table 5 writes them."""
    config = MoRConfig(router_type="none", **fields)
    offset = {
        "prelude": 0,
        "shared": config.num_prelude_layers,
        "coda": config.num_prelude_layers + config.num_layers_per_recursion,
    }
    return [offset[call.stage] + call.layer_idx for call in layer_schedule(config)]


@pytest.mark.parametrize(
    ("sharing", "ends", "block", "recursions", "expected"),
    [
        ("cycle", 0, 4, 3, "0 1 2 3 0 1 2 3 0 1 2 3"),
        ("sequence", 0, 4, 3, "0 0 0 1 1 1 2 2 2 3 3 3"),
        ("cycle", 1, 5, 2, "0 1 2 3 4 5 1 2 3 4 5 6"),
        ("sequence", 1, 5, 2, "0 1 1 2 2 3 3 4 4 5 5 6"),
        ("cycle", 1, 3, 3, "0 1 2 3 1 2 3 1 2 3 4"),
        ("sequence", 1, 2, 4, "0 1 1 1 1 2 2 2 2 3"),
    ],
)
def test_layers_repeat_as_in_the_paper(sharing, ends, block, recursions, expected):
    layers = unrolled(
        sharing=sharing,
        num_prelude_layers=ends,
        num_coda_layers=ends,
        num_layers_per_recursion=block,
        num_recursions=recursions,
    )
    assert " ".join(map(str, layers)) == expected


@pytest.mark.parametrize("recursions", [1, 2, 3, 5])
def test_recursion_wise_slots_are_each_used_once(recursions):
    config = MoRConfig(num_recursions=recursions)
    calls = layer_schedule(config)
    assert [call.cache_slot for call in calls] == list(range(config.num_hidden_layers))
    assert all(call.writes_cache for call in calls)


def test_shared_keys_are_written_in_the_first_recursion_only():
    config = MoRConfig(kv_strategy="shared")
    calls = [call for call in layer_schedule(config) if call.stage == "shared"]
    assert [call.cache_slot for call in calls] == [1, 2, 1, 2, 1, 2]
    assert [call.writes_cache for call in calls] == [True, True, False, False, False, False]
    assert num_cache_slots(config) == 4


def test_hand_written_table_for_three_recursions():
    table = [
        (call.stage, call.layer_idx, call.recursion_idx, call.cache_slot)
        for call in layer_schedule(MoRConfig())
    ]
    assert table == [
        ("prelude", 0, None, 0),
        ("shared", 0, 0, 1),
        ("shared", 1, 0, 2),
        ("shared", 0, 1, 3),
        ("shared", 1, 1, 4),
        ("shared", 0, 2, 5),
        ("shared", 1, 2, 6),
        ("coda", 0, None, 7),
    ]
