"""Keys and values of one request in one cache slot, in their own memory, which grows by whole chunks.

A step writes one entry and moves nothing; only when a chunk is full are the entries of this request and slot copied. An
entry's keys and values are adjacent, so that the entries in use are contiguous.

Shapes: G key/value heads, T entries, D head width.
"""

from torch import Tensor

from mor_core.model.cache import CacheSlot
from mor_core.model.config import MoRConfig

CHUNK = 64


class KeyValueStore:
    """The entries of one request in one slot, in order of position."""

    __slots__ = ("_by_kind", "entry_bytes", "length", "memory")

    def __init__(self, config: MoRConfig, like: Tensor, capacity: int = CHUNK) -> None:
        """Allocate memory for `capacity` entries, rounded up to chunks, with the device and dtype of `like`."""
        heads, width = config.num_key_value_heads, config.attention_head_dim
        rounded = -(-max(capacity, 1) // CHUNK) * CHUNK
        self.length = 0
        self._use(like.new_empty(rounded, 2 * heads, width))

    @classmethod
    def of_prefill(
        cls, config: MoRConfig, slot: CacheSlot, like: Tensor, capacity: int = 0
    ) -> "KeyValueStore":
        """Copy the entries that a prefill of one row left in a slot, with memory for `capacity` entries in total."""
        if slot.keys is None or slot.values is None:
            return cls(config, like, capacity)
        held = slot.keys.shape[2]
        store = cls(config, like, max(capacity, held + 1))
        heads = config.num_key_value_heads
        store.memory[:held, :heads] = slot.keys[0].transpose(0, 1)
        store.memory[:held, heads:] = slot.values[0].transpose(0, 1)
        store.length = held
        return store

    def append(self, entry: Tensor) -> None:
        """Add one token's keys and values, (2G, D): the G rotated keys, then the G values."""
        if self.length == self.memory.shape[0]:
            larger = self.memory.new_empty(self.length + CHUNK, *self.memory.shape[1:])
            larger[: self.length] = self.memory
            self._use(larger)
        self.memory[self.length].copy_(entry)
        self.length += 1

    def read(self) -> tuple[Tensor, Tensor]:
        """Return keys and values, each (1, G, T, D), without copying."""
        keys, values = self._by_kind.narrow(3, 0, self.length).unbind(0)
        return keys, values

    def entries(self) -> Tensor:
        """Return all entries (T, 2G, D), without copying."""
        return self.memory.narrow(0, 0, self.length)

    @property
    def used_bytes(self) -> int:
        """Bytes of the entries."""
        return self.length * self.entry_bytes

    @property
    def reserved_bytes(self) -> int:
        """Bytes of the allocated memory."""
        return self.memory.nbytes

    def _use(self, memory: Tensor) -> None:
        self.memory = memory
        self.entry_bytes = memory[0].nbytes
        by_kind = memory.unflatten(1, (2, -1))  # (C, 2, G, D)
        self._by_kind = by_kind.permute(1, 2, 0, 3).unsqueeze(1)
