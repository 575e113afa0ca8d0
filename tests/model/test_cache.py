"""The cache: cached decode equals recomputation, only active tokens are stored, bytes are real."""

import pytest
import torch

from mor_core import RecursionCache
from mor_core.model.accounting import kv_bytes, kv_bytes_per_entry
from tests.models import (
    ROUTED,
    RULES,
    UNROUTED,
    UPDATED,
    pairs,
    tiny_model,
    token_ids,
)

FAMILY = ROUTED | UNROUTED
CAUSAL_RULES = {name: rule for name, rule in RULES.items() if not rule.sees_future}


def decode(model, ids, prefill, rule):
    """Logits and depths of a prefill and single-token steps."""
    out = model(ids[:, :prefill], routing=rule)
    logits, depths = [out.logits], [out.recursion_trace.depth()]
    for place in range(prefill, ids.shape[1]):
        out = model(ids[:, place : place + 1], past_key_values=out.past_key_values, routing=rule)
        logits.append(out.logits)
        depths.append(out.recursion_trace.depth())
    return torch.cat(logits, 1), torch.cat(depths, 1), out.past_key_values


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(("fields", "rule"), pairs(FAMILY, CAUSAL_RULES))
def test_cached_decode_equals_recomputation(fields, rule, batch):
    model = tiny_model(**fields)
    ids = token_ids(batch, 16)
    with torch.no_grad():
        whole = model(ids, routing=rule)
        logits, depths, cache = decode(model, ids, 5, rule)
    assert torch.equal(depths, whole.recursion_trace.depth())
    torch.testing.assert_close(logits, whole.logits, atol=1e-5, rtol=0)
    assert cache.num_entries() == whole.past_key_values.num_entries()


def test_prefill_in_pieces_equals_one_prefill():
    model = tiny_model()
    ids = token_ids(2, 18)
    with torch.no_grad():
        whole = model(ids)
        first = model(ids[:, :7])
        second = model(ids[:, 7:], past_key_values=first.past_key_values)
    torch.testing.assert_close(second.logits, whole.logits[:, 7:], atol=1e-5, rtol=0)


def test_only_active_tokens_are_stored():
    model = tiny_model()
    with torch.no_grad():
        out = model(token_ids(1, 30))
    active = out.recursion_trace.active()[0]
    cache = out.past_key_values
    for recursion in range(3):
        expected = active[:, recursion].nonzero().flatten().tolist()
        for layer in range(2):
            assert cache.positions(1 + 2 * recursion + layer)[0].tolist() == expected
    assert cache.positions(0)[0].tolist() == list(range(30))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("strategy", ["recursion_wise", "shared"])
def test_bytes_equal_the_tensors_and_the_formula(strategy, dtype):
    model = tiny_model(kv_strategy=strategy).to(dtype)
    with torch.no_grad():
        out = model(token_ids(1, 30))
    cache = out.past_key_values
    tensors = [t for slot in cache.slots for t in (slot.keys, slot.values)]
    real = sum(t.numel() * t.element_size() for t in tensors)
    counts = out.recursion_trace.active_counts()[0]
    assert cache.nbytes == real == kv_bytes(model.config, 30, counts, dtype.itemsize)
    entry = kv_bytes_per_entry(model.config, dtype.itemsize)
    assert cache.num_bytes() == [entries * entry for entries in cache.num_entries()]
    assert len(cache.slots) == (8 if strategy == "recursion_wise" else 4)


def test_left_padding_changes_nothing_and_is_never_cached():
    model = tiny_model()
    ids = token_ids(1, 12)
    padded = torch.cat((torch.zeros(1, 5, dtype=torch.long), ids), 1)
    mask = torch.tensor([[0] * 5 + [1] * 12])
    with torch.no_grad():
        plain, out = model(ids), model(padded, attention_mask=mask)
        longer = torch.cat((mask, torch.ones(1, 1, dtype=torch.long)), 1)
        new = token_ids(1, 1, seed=9)
        after = model(new, past_key_values=plain.past_key_values)
        padded_after = model(new, attention_mask=longer, past_key_values=out.past_key_values)
    torch.testing.assert_close(out.logits[:, 5:], plain.logits, atol=1e-5, rtol=0)
    torch.testing.assert_close(padded_after.logits, after.logits, atol=1e-5, rtol=0)
    assert out.past_key_values.num_entries() == plain.past_key_values.num_entries()
    assert out.recursion_trace.depth()[0, :5].tolist() == [0] * 5


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(("fields", "rule"), pairs(FAMILY | UPDATED, RULES, with_draws=False))
def test_batch_of_rows_equals_rows_alone(fields, rule, side):
    """Also for top-k, whose capacity follows each row's real length; padding takes part in nothing."""
    model = tiny_model(**fields)
    lengths = [5, 12, 9]
    ids = token_ids(3, 12)
    counted = [[1] * length + [0] * (12 - length) for length in lengths]
    mask = torch.tensor(counted if side == "right" else [row[::-1] for row in counted])
    with torch.no_grad():
        together = model(ids, attention_mask=mask, routing=rule)
        for row, length in enumerate(lengths):
            real = mask[row].bool()
            alone = model(ids[row : row + 1, real], routing=rule)
            depth = together.recursion_trace.depth()[row]
            assert torch.equal(depth[real], alone.recursion_trace.depth()[0])
            assert depth[~real].tolist() == [0] * (12 - length)
            torch.testing.assert_close(
                together.logits[row, real], alone.logits[0], atol=1e-5, rtol=0
            )


@pytest.mark.parametrize("fields", UPDATED.values(), ids=UPDATED)
def test_updated_keys_are_refused_in_decode_and_recomputed_by_generate(fields):
    model = tiny_model(**fields)
    ids = token_ids(1, 6)
    with torch.no_grad():
        past = model(ids).past_key_values
        with pytest.raises(ValueError, match="replace those of recursion 1 for one call"):
            model(ids[:, :1], past_key_values=past)
        text = model.generate(ids, max_new_tokens=4, do_sample=False, eos_token_id=None)
        for length in range(6, 10):
            best = model(text[:, :length]).logits[0, -1].argmax()
            assert text[0, length] == best


def test_updated_keys_are_seen_by_their_own_recursion_alone():
    """Recursion 3 starts from the keys of recursion 1 again, not from those of recursion 2."""
    shared, updated = (tiny_model(kv_strategy=name) for name in ("shared", "shared_updated"))
    ids = token_ids(1, 12)
    with torch.no_grad():
        kept, out = (model(ids).past_key_values for model in (shared, updated))
        differ = (shared(ids).logits - updated(ids).logits).abs().max()
    assert differ > 1e-3
    for mine, theirs in zip(kept.slots[:3], out.slots[:3], strict=True):
        torch.testing.assert_close(mine.keys, theirs.keys)


def test_reordering_follows_the_beams():
    model = tiny_model()
    ids, new = token_ids(3, 10), token_ids(3, 1, seed=5)
    beams = torch.tensor([2, 0, 0])
    with torch.no_grad():
        cache = model(ids).past_key_values
        cache.reorder_cache(beams)
        reordered = model(new, past_key_values=cache).logits
        expected = model(torch.cat((ids[beams], new), 1)).logits[:, -1:]
    torch.testing.assert_close(reordered, expected, atol=1e-5, rtol=0)


def test_a_new_cache_is_empty():
    cache = RecursionCache(tiny_model().config)
    assert cache.get_seq_length() == 0
    assert cache.nbytes == 0
    assert cache.num_entries() == [0] * 8
