"""The serving benchmark: every request gets its cache and all of its tokens."""

import pytest
import torch

from mor_core import RoutingRule
from mor_core.benchmarks.requests import Batch, PlainRequest
from mor_core.benchmarks.serve import _HELD, _NEW, EngineSide
from mor_core.serving.engine import Engine
from tests.models import tiny_model


def test_every_request_is_served_to_the_end():
    model = tiny_model(max_position_embeddings=_HELD + _NEW)
    side = EngineSide(model, requests=3, new=4, slots=2).side("MoR")
    side.prepare()
    side.run()
    read, head = side.phases()[:2]
    assert head.flops == 2 * 3 * 4 * model.config.vocab_size * model.config.hidden_size
    assert read.num_bytes > 3 * 4 * _HELD * model.config.num_key_value_heads


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_plain_request_takes_its_tokens_in_any_dtype(dtype):
    engine, states = Engine(tiny_model().to(dtype)), []
    request = PlainRequest([1, 2, 3], RoutingRule.causal(), 5)

    def submit(engine, wanted):
        states.append(engine.submit(wanted.ids, wanted.rule, wanted.max_new_tokens))
        return states[0]

    Batch(engine, [request], 1, submit).run()
    assert request.num_taken == 5
    assert len(states[0].ids) == 3 + 4  # the last token is not read
