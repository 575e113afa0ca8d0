"""The serving benchmark: every request gets its cache and all of its tokens."""

from mor_core.bench_serve import _HELD, _NEW, _Served
from tests.models import tiny_model


def test_every_request_is_served_to_the_end():
    model = tiny_model(max_position_embeddings=_HELD + _NEW)
    side = _Served(model, requests=3, new=4, slots=2).side("MoR")
    side.prepare()
    side.run()
    read, head = side.phases()[:2]
    assert head.flops == 2 * 3 * 4 * model.config.vocab_size * model.config.hidden_size
    assert read.num_bytes > 3 * 4 * _HELD * model.config.num_key_value_heads
