"""Keys and values of the active tokens, by cache slot.

A slot belongs to one (recursion, layer) pair, or to one layer where recursions share keys. It holds
active tokens only and stores their positions, so one rule is enough for prefill, decode, padding and
all KV strategies: a query attends to the entries whose position is at most its own.

Shapes: B batch, G key/value heads, T entries of the longest row, D head width, S new positions.
"""

import torch
from torch import Tensor
from transformers import Cache

from mor_core.model.config import MoRConfig
from mor_core.model.layer_schedule import num_cache_slots
from mor_core.model.token_set import TokenSet

_EMPTY = -1


class CacheSlot:
    """The entries of one slot; rows of a batch may hold different numbers of them."""

    def __init__(self) -> None:
        self.keys: Tensor | None = None  # (B, G, T, D)
        self.values: Tensor | None = None  # (B, G, T, D)
        self.positions: Tensor | None = None  # (B, T), _EMPTY after the end of a shorter row
        self.is_ragged = False

    def append(
        self, keys: Tensor, values: Tensor, positions: Tensor, tokens: TokenSet, batch_size: int
    ) -> None:
        """Append the valid entries of `tokens`: keys and values (b, G, K, D) at positions (b, K)."""
        if tokens.rows is None and tokens.valid is None and not self.is_ragged:
            self.keys = _joined(self.keys, keys, dim=2)
            self.values = _joined(self.values, values, dim=2)
            self.positions = _joined(self.positions, positions, dim=1)
            return
        self.is_ragged = True
        if self.keys is None or self.values is None or self.positions is None:
            self.keys = keys.new_empty(batch_size, keys.shape[1], 0, keys.shape[3])
            self.values = self.keys.clone()
            self.positions = positions.new_empty(batch_size, 0)
        rows = tokens.rows
        if rows is None:
            rows = torch.arange(batch_size, device=keys.device)
        valid = tokens.valid
        if valid is None:
            valid = torch.ones_like(positions, dtype=torch.bool)
        lengths = (self.positions != _EMPTY).sum(dim=1)
        columns = lengths[rows][:, None] + valid.cumsum(dim=1) - 1
        needed = int(lengths.index_add(0, rows, valid.sum(dim=1)).max())
        grow = max(0, needed - self.positions.shape[1])
        self.keys = torch.nn.functional.pad(self.keys, (0, 0, 0, grow))
        self.values = torch.nn.functional.pad(self.values, (0, 0, 0, grow))
        self.positions = torch.nn.functional.pad(self.positions, (0, grow), value=_EMPTY)
        row_of = rows[:, None].expand_as(columns)[valid]
        column_of = columns[valid]
        self.keys[row_of, :, column_of] = keys.transpose(1, 2)[valid]
        self.values[row_of, :, column_of] = values.transpose(1, 2)[valid]
        self.positions[row_of, column_of] = positions[valid]

    @property
    def num_entries(self) -> int:
        """Tokens held, summed over the batch; synchronises with the device only where rows differ in length."""
        if self.positions is None:
            return 0
        return int((self.positions != _EMPTY).sum()) if self.is_ragged else self.positions.numel()

    @property
    def num_bytes(self) -> int:
        """Bytes of the key and value tensors."""
        return sum(t.nbytes for t in (self.keys, self.values) if t is not None)

    def reorder(self, rows: Tensor) -> None:
        """Keep the given rows of the batch, in this order."""
        if self.keys is not None and self.values is not None and self.positions is not None:
            self.keys = self.keys.index_select(0, rows)
            self.values = self.values.index_select(0, rows)
            self.positions = self.positions.index_select(0, rows)


class RecursionCache(Cache):  # type: ignore[misc]
    """All cache slots of one run. Pass it from call to call as `past_key_values`.

    It is the Hugging Face cache of `generate()`; the model keeps no reference to it.
    """

    is_compileable = False  # routing decides how much each slot grows

    def __init__(self, config: MoRConfig) -> None:
        super().__init__(layers=[])
        self.slots = [CacheSlot() for _ in range(num_cache_slots(config))]
        self.num_seen_tokens = 0
        self.opening: Tensor | None = None  # (B, n), first tokens, for random routing

    def get_seq_length(self, layer_idx: int = 0) -> int:  # noqa: ARG002 - Hugging Face's signature
        """Positions processed so far, padding included, as Hugging Face counts them; slots may hold fewer."""
        return self.num_seen_tokens

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Follow the beams that beam search kept."""
        for slot in self.slots:
            slot.reorder(beam_idx)
        if self.opening is not None:
            self.opening = self.opening.index_select(0, beam_idx)

    def num_entries(self) -> list[int]:
        """Tokens held per slot, summed over the batch."""
        return [slot.num_entries for slot in self.slots]

    def num_bytes(self) -> list[int]:
        """Bytes of the key and value tensors per slot."""
        return [slot.num_bytes for slot in self.slots]

    @property
    def nbytes(self) -> int:
        """Bytes of all key and value tensors."""
        return sum(self.num_bytes())

    def positions(self, slot: int) -> Tensor:
        """Positions held by a slot; (B, T), -1 where a row has fewer entries than the longest."""
        held = self.slots[slot].positions
        return torch.empty(0, 0, dtype=torch.long) if held is None else held


class SlotView:
    """The keys that one layer call attends to: its own, those of a cache slot, or both. Implements `KeyValueSlot`."""

    def __init__(
        self,
        tokens: TokenSet,
        position_ids: Tensor,
        batch_size: int,
        slot: CacheSlot | None,
        *,
        writes: bool,
        computes_keys: bool,
    ) -> None:
        """Bind a set of tokens, their positions (b, K) and a slot (`None`: keys are kept for this call only).

        With `computes_keys` but not `writes`, the new keys replace the slot's entries of these tokens in this view.
        """
        self.writes = writes
        self.computes_keys = computes_keys
        self._tokens = tokens
        self._position_ids = position_ids
        self._batch_size = batch_size
        self._slot = slot
        self._has_past = slot is not None and slot.positions is not None

    def write(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Take (b, G, K, D) keys and values; return all that are visible, (b, G, T, D)."""
        if self._slot is None:
            return keys, values
        if not self.writes:
            return self._replaced(keys, values)
        self._slot.append(keys, values, self._position_ids, self._tokens, self._batch_size)
        if not self._has_past and self._tokens.rows is None and self._tokens.valid is None:
            return keys, values
        return self.read()

    def read(self) -> tuple[Tensor, Tensor]:
        """Return what the slot holds for these rows, (b, G, T, D)."""
        assert self._slot is not None
        keys, values = self._slot.keys, self._slot.values
        assert keys is not None
        assert values is not None
        rows = self._tokens.rows
        return (keys, values) if rows is None else (keys[rows], values[rows])

    def _replaced(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return the slot's entries, those of these tokens replaced by the given ones (b, G, K, D)."""
        held = self.read()
        positions = self._slot.positions  # type: ignore[union-attr]
        assert positions is not None
        positions = positions if self._tokens.rows is None else positions[self._tokens.rows]
        found = positions[:, None] == self._position_ids[..., None]
        columns = found.int().argmax(dim=-1)  # (b, K)
        if self._tokens.valid is not None:
            # Invalid entries go to an extra column, which is cut off again.
            columns = columns.masked_fill(~self._tokens.valid, positions.shape[1])
        index = columns[:, None, :, None].expand_as(keys)
        wider = [torch.nn.functional.pad(old, (0, 0, 0, 1)) for old in held]
        keys, values = (
            old.scatter(2, index, new)[:, :, :-1]
            for old, new in zip(wider, (keys, values), strict=True)
        )
        return keys, values

    def visibility(self) -> tuple[Tensor | None, bool]:
        """Return the mask (b, 1, K, T), or `None` where none is needed; and whether SDPA's `is_causal` is to be set."""
        all_valid = self._tokens.valid is None and not (self._slot and self._slot.is_ragged)
        if all_valid and self.writes and not self._has_past:
            return None, True
        is_newest = self.writes or self._tokens.num_positions == 1
        if all_valid and self._position_ids.shape[1] == 1 and is_newest:
            return None, False
        if self._slot is None:
            key_positions = self._position_ids
            if self._tokens.valid is not None:
                key_positions = key_positions.masked_fill(~self._tokens.valid, _EMPTY)
        else:
            held = self._slot.positions
            assert held is not None
            key_positions = held if self._tokens.rows is None else held[self._tokens.rows]
        visible = key_positions[:, None, :] <= self._position_ids[:, :, None]
        visible &= (key_positions != _EMPTY)[:, None, :]
        if self._tokens.valid is not None:
            # An invalid entry attends to everything, so that no softmax row is empty; its result is dropped.
            visible |= ~self._tokens.valid[:, :, None]
        return visible[:, None], False


def _joined(old: Tensor | None, new: Tensor, dim: int) -> Tensor:
    return new if old is None else torch.cat((old, new), dim=dim)
