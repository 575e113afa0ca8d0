"""The set of tokens that take part in a stage of the model, and how to gather and scatter their states.

Each stage gets its tokens as one `TokenSet`: all of them in prelude and coda, the active ones in a recursion. A
gathered set leaves the other tokens out; a masked set keeps all tokens and marks the valid ones. Both have the same
interface, so that tests can compare the fast path to the slow one.

Shapes: B rows and S positions of the call; b rows and K entries of the set (b <= B, K <= S).
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TokenSet:
    """Some tokens of a (B, S) call, in ascending order within each row.

    Attributes:
        num_positions: S.
        rows: (b,) rows of the batch that take part; `None` for all.
        indices: (b, K) positions within the call; `None` for all.
        valid: (b, K) False where an entry is padding or masked out; `None` if every entry is valid.
    """

    num_positions: int
    rows: Tensor | None = None
    indices: Tensor | None = None
    valid: Tensor | None = None

    def gather(self, values: Tensor) -> Tensor:
        """Take this set's entries; (B, S, ...) -> (b, K, ...)."""
        if self.rows is not None:
            values = values[self.rows]
        if self.indices is None:
            return values
        index = self.indices.reshape(*self.indices.shape, *([1] * (values.dim() - 2)))
        return values.gather(1, index.expand(*self.indices.shape, *values.shape[2:]))

    def add(self, values: Tensor, update: Tensor) -> Tensor:
        """Return `values` (B, S, E) with `update` (b, K, E) added to this set's tokens; others stay bit-identical."""
        if self.valid is not None:
            update = torch.where(self.valid[..., None], update, torch.zeros_like(update))
        update = update.to(values.dtype)
        if self.indices is None and self.rows is None:
            return values + update
        if self.rows is None:
            index = self.indices[..., None].expand_as(update)  # type: ignore[index]
            return values.scatter_add(1, index, update)
        flat = self._flat_indices(update.shape[:2], update.device)
        return values.flatten(0, 1).index_add(0, flat, update.flatten(0, 1)).view_as(values)

    def put(self, values: Tensor, new: Tensor) -> Tensor:
        """Return `values` (B, S, E) with `new` (b, K, E) for this set's tokens; others stay bit-identical."""
        new = new.to(values.dtype)
        if self.valid is not None:
            new = torch.where(self.valid[..., None], new, self.gather(values))
        if self.indices is None and self.rows is None:
            return new
        flat = self._flat_indices(new.shape[:2], new.device)
        return values.flatten(0, 1).index_copy(0, flat, new.flatten(0, 1)).view_as(values)

    def _flat_indices(self, shape: torch.Size, device: torch.device) -> Tensor:
        """Return the index of each of the (b, K) entries in a flattened (B x S) call."""
        rows, indices = self.rows, self.indices
        if rows is None:
            rows = torch.arange(shape[0], device=device)
        if indices is None:
            indices = torch.arange(self.num_positions, device=device).expand(shape)
        return (rows[:, None] * self.num_positions + indices).flatten()

    def keep(self, chosen: Tensor, *, gathered: bool) -> "TokenSet":
        """Return the subset where `chosen` (b, K) is true; `gathered` decides whether the rest is left out.

        A gathered subset needs its size on the host: one synchronisation on a GPU.
        """
        if self.valid is not None:
            chosen = chosen & self.valid
        if not gathered:
            return TokenSet(self.num_positions, self.rows, self.indices, chosen)
        counts = chosen.sum(dim=1)
        listed = counts.tolist()
        width = max(listed, default=0)
        if min(listed, default=0) == chosen.shape[1]:
            return TokenSet(self.num_positions, self.rows, self.indices, None)
        rows, indices = self.rows, self.indices
        if 0 in listed:
            kept = counts.nonzero().flatten()
            chosen = chosen[kept]
            rows = kept if rows is None else rows[kept]
            indices = indices if indices is None else indices[kept]
            listed = [count for count in listed if count]
        order = (~chosen).to(torch.uint8).argsort(dim=1, stable=True)[:, :width]
        valid = None if all(count == width for count in listed) else chosen.gather(1, order)
        indices = order if indices is None else indices.gather(1, order)
        return TokenSet(self.num_positions, rows, indices, valid)

    def keep_indices(self, kept: Tensor, valid: Tensor | None) -> "TokenSet":
        """Return the subset at indices `kept` (b, k) along K, ascending, without synchronising with the device."""
        indices = kept if self.indices is None else self.indices.gather(1, kept)
        return TokenSet(self.num_positions, self.rows, indices, valid)

    @property
    def is_empty(self) -> bool:
        """Whether a gathered set has no tokens; a masked set is never empty by shape."""
        return self.indices is not None and 0 in self.indices.shape

    def dense(self, values: Tensor, batch_size: int, fill: float | bool) -> Tensor:
        """Scatter (b, K) values into (B, S), `fill` elsewhere."""
        scattered = values.new_full((batch_size, self.num_positions), fill)
        rows = self.rows
        if rows is None:
            rows = torch.arange(batch_size, device=values.device)
        indices = self.indices
        if indices is None:
            indices = torch.arange(self.num_positions, device=values.device).expand(values.shape)
        rows = rows[:, None].expand(values.shape)
        if self.valid is None:
            scattered[rows, indices] = values
        else:
            scattered[rows[self.valid], indices[self.valid]] = values[self.valid]
        return scattered
