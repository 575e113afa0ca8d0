"""The experts in a trace are those that the Switch layers chose."""

import dataclasses

import torch

from mor_core import collect_trace, generate_with_trace
from tests.models import UNROUTED, tiny_model


def test_recorded_experts_are_the_routers_choices(tiny_loaded):
    model = tiny_model(vocab_size=300, **UNROUTED["recursive switch"])
    loaded = dataclasses.replace(tiny_loaded, model=model)
    trace = collect_trace(generate_with_trace(loaded, "Once", max_new_tokens=5, temperature=0))
    ids = torch.tensor([[token.token_id for token in trace.tokens[:-1]]])
    with torch.no_grad():
        chosen = model(ids).expert_log.choices()[0].tolist()
    assert [token.expert_idx for token in trace.tokens[:-1]] == chosen
    assert {len(row) for row in chosen} == {model.config.num_hidden_layers}
    assert len({expert for row in chosen for expert in row}) > 1
    assert trace.tokens[-1].expert_idx == []
