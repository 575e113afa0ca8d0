"""Engine requests with greedy sampling, and a check against one forward pass on the whole sequence."""

import torch

from mor_core.benchmarks.requests import Batch
from tests.models import RULES, token_ids


class Greedy:
    """A request that takes the most probable token and stores what the engine passes to it."""

    def __init__(self, length, *, rule=RULES["causal"], new=8, seed=0):
        self.ids = token_ids(1, length, seed=seed)[0].tolist()
        self.rule = rule
        self.max_new_tokens = new
        self.chosen = []
        self.processed = []
        self.logits = []

    def take(self, processed):
        if self.chosen:
            self.processed.append(processed)
        return self.choose(processed.logits[-1])

    def choose(self, logits):
        if len(self.chosen) == self.max_new_tokens:
            return None
        self.logits.append(logits.float().cpu())
        self.chosen.append(int(logits.argmax()))
        return self.chosen[-1]


def drive(engine, *requests, num_slots=8):
    Batch(engine, requests, num_slots).run()


def check_against_recomputation(model, request, atol=1e-5):
    """Compare logits, depths and cache slots of a finished request with one forward pass on its whole sequence."""
    ids = torch.tensor([[*request.ids, *request.chosen]], device=model.device)
    with torch.no_grad():
        whole = model(ids, routing=request.rule)
    before = len(request.ids)
    torch.testing.assert_close(
        torch.stack(request.logits), whole.logits[0, before - 1 : -1].cpu(), atol=atol, rtol=0
    )
    depths = whole.recursion_trace.depth()[0, before:].tolist()
    assert [depth for processed in request.processed for depth in processed.depths] == depths
    last, cache = request.processed[-1], whole.past_key_values
    assert last.cache_entries == cache.num_entries()
    assert last.cache_bytes == cache.num_bytes()
    for processed in request.processed:
        held = [
            processed.first_position in cache.positions(slot).flatten()
            for slot in range(len(cache.slots))
        ]
        assert processed.cached_slots == [[slot for slot, is_held in enumerate(held) if is_held]]
