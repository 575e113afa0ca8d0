"""Random numbers in [0, 1) for random routing, by a hash: equal in cached and recomputed, batched and single runs.

A number depends on the seed, the recursion, the position, and the text's first tokens up to that position. So two texts
of equal length are routed differently, and the routing of a text does not depend on its row in a batch.

Shapes: B batch, S positions of a call, b rows and K candidates of a token set, n tokens of the opening.
"""

import torch
from torch import Tensor

OPENING_TOKENS = 16
"""How many first tokens of a text its random numbers depend on; later tokens do not change them."""
_MASK = 0xFFFFFFFF


def text_opening(
    input_ids: Tensor, position_ids: Tensor, valid: Tensor | None, before: Tensor | None
) -> Tensor:
    """Return the first tokens of each row that are known so far.

    Args:
        input_ids: (B, S), token ids of this call.
        position_ids: (B, S).
        valid: (B, S), False for padding; `None` without padding.
        before: (B, n), the result for the previous call; `None` at first.

    Returns:
        (B, n) token ids; 0 for tokens that are not known yet.
    """
    opening = (
        input_ids.new_zeros(len(input_ids), OPENING_TOKENS) if before is None else before.clone()
    )
    opens = position_ids < OPENING_TOKENS
    if valid is not None:
        opens = opens & valid
    rows = torch.arange(len(input_ids), device=input_ids.device)[:, None].expand_as(input_ids)
    opening[rows[opens], position_ids[opens]] = input_ids[opens]
    return opening


def draw_keys(position_ids: Tensor, opening: Tensor | None) -> Tensor:
    """Return the hash key of each position, to which seed and recursion are added; (B, S) -> int64 (B, S).

    Args:
        position_ids: (B, S).
        opening: (B, n), first tokens of each row; `None` for numbers that depend on the position only.
    """
    keys = position_ids * 0x9E3779B1
    if opening is not None:
        order = torch.arange(1, opening.shape[1] + 1, device=opening.device)
        hashed = _mixed(((opening + 1) * 0x9E3779B1 + order * 0x85EBCA77) & _MASK)
        digests = hashed.cumsum(dim=1) & _MASK  # of the tokens up to each position
        last = position_ids.clamp(max=opening.shape[1] - 1)
        keys = keys + digests.gather(1, last) * 0x27D4EB2F
    return keys & _MASK


def hash_uniform(keys: Tensor, recursion_idx: int, seed: int) -> Tensor:
    """Return random numbers in [0, 1) for keys of `draw_keys`; (b, K) -> float64 (b, K)."""
    seeded = ((recursion_idx + 1) * 0x85EBCA77 + seed * 0xC2B2AE3D) & _MASK
    return _mixed((keys + seeded) & _MASK).double() / 2**32


def select_random(keys: Tensor, recursion_idx: int, share: float, seed: int) -> Tensor:
    """Choose each candidate with probability `share`; (b, K) -> bool (b, K)."""
    return hash_uniform(keys, recursion_idx, seed) < share


def _mixed(values: Tensor) -> Tensor:
    """Mix 32 bits, so that neighbouring values give unrelated results."""
    for multiplier in (0x7FEB352D, 0x846CA68B):
        values = ((values ^ (values >> 16)) * multiplier) & _MASK
    return values ^ (values >> 16)
