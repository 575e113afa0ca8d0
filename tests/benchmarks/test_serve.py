"""The serving benchmark: every request gets its cache and all of its tokens."""

import pytest
import torch

from mor_core import RoutingRule
from mor_core.benchmarks.requests import PlainRequest
from mor_core.benchmarks.serve import _HELD, _NEW, Served
from mor_core.serving.engine import Engine
from tests.models import tiny_model


def test_every_request_is_served_to_the_end():
    model = tiny_model(max_position_embeddings=_HELD + _NEW)
    side = Served(model, requests=3, new=4, slots=2).side("MoR")
    side.prepare()
    side.run()
    read, head = side.phases()[:2]
    assert head.flops == 2 * 3 * 4 * model.config.vocab_size * model.config.hidden_size
    assert read.num_bytes > 3 * 4 * _HELD * model.config.num_key_value_heads


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_plain_request_takes_its_tokens_in_any_dtype(dtype):
    engine = Engine(tiny_model().to(dtype), num_slots=1)
    request = PlainRequest([1, 2, 3], RoutingRule.causal(), 5)
    flight = engine.submit(request)
    while not engine.is_idle:
        engine.step()
    engine.check_flight(flight)
    assert request.num_taken == 5
    assert len(flight.ids) == 3 + 4  # the last token is not read
