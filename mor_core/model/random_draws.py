"""Numbers in [0, 1) for random routing, by a hash: the same whether a run is cached or recomputed, batched or alone.

A draw depends on the seed, the recursion, the position, and the text's opening up to that position. So two texts of one
shape do not share one fate, and a text's fate does not depend on its row in a batch.

Shapes: B batch, S positions of a call, b rows and K candidates of a token set, n tokens of the opening.
"""

import torch
from torch import Tensor

OPENING_TOKENS = 16
"""First tokens of a text that its draws depend on; what comes later changes no draw."""
_MASK = 0xFFFFFFFF


def text_opening(
    input_ids: Tensor, position_ids: Tensor, valid: Tensor | None, before: Tensor | None
) -> Tensor:
    """Return the first tokens of each row, as far as they are known.

    Args:
        input_ids: (B, S), of this call.
        position_ids: (B, S).
        valid: (B, S), False for padding; `None` if all tokens count.
        before: (B, n) from the calls before; `None` at first.

    Returns:
        (B, n) ids; 0 where no token has come yet.
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
    """Return what the draws of each position depend on beside seed and recursion; (B, S) -> int64 (B, S).

    Args:
        position_ids: (B, S).
        opening: (B, n) first tokens of each row; `None` for draws by position alone.
    """
    keys = position_ids * 0x9E3779B1
    if opening is not None:
        order = torch.arange(1, opening.shape[1] + 1, device=opening.device)
        hashed = _mixed(((opening + 1) * 0x9E3779B1 + order * 0x85EBCA77) & _MASK)
        digests = hashed.cumsum(dim=1) & _MASK  # of the tokens up to each place
        last = position_ids.clamp(max=opening.shape[1] - 1)
        keys = keys + digests.gather(1, last) * 0x27D4EB2F
    return keys & _MASK


def hash_uniform(keys: Tensor, recursion_idx: int, seed: int) -> Tensor:
    """Draw from [0, 1); (b, K) keys of `draw_keys` -> float64 (b, K)."""
    seeded = ((recursion_idx + 1) * 0x85EBCA77 + seed * 0xC2B2AE3D) & _MASK
    return _mixed((keys + seeded) & _MASK).double() / 2**32


def select_random(keys: Tensor, recursion_idx: int, share: float, seed: int) -> Tensor:
    """Choose each candidate with probability `share`; (b, K) -> bool (b, K)."""
    return hash_uniform(keys, recursion_idx, seed) < share


def _mixed(values: Tensor) -> Tensor:
    """Mix 32 bits, so that neighbours have nothing in common."""
    for multiplier in (0x7FEB352D, 0x846CA68B):
        values = ((values ^ (values >> 16)) * multiplier) & _MASK
    return values ^ (values >> 16)
