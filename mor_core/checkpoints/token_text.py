"""What the ids of a byte-level vocabulary stand for: bytes, text, candidates.

Shapes: V vocabulary.
"""

import functools
import math
from typing import TYPE_CHECKING

from torch import Tensor
from transformers.convert_slow_tokenizer import bytes_to_unicode

from mor_core.traces.trace import Alternative

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class Vocabulary:
    """The bytes and the text of every token of a byte-level vocabulary.

    Attributes:
        longest: bytes of the longest token.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerFast") -> None:
        self._special = set(tokenizer.all_special_ids)
        to_byte = {character: byte for byte, character in bytes_to_unicode().items()}
        names = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
        self._bytes = [
            name.encode() if token_id in self._special else bytes(to_byte[c] for c in name)
            for token_id, name in enumerate(names)
        ]
        self.longest = max(map(len, self._bytes))
        self._texts = [spelt.decode("utf-8", errors="replace") for spelt in self._bytes]

    def token_bytes(self, token_id: int) -> bytes:
        """Return the exact bytes; nothing for ids that the model has but the tokenizer has not."""
        return self._bytes[token_id] if token_id < len(self._bytes) else b""

    def text(self, token_id: int) -> str:
        """Return the token alone as text; bytes that are not UTF-8 by themselves become U+FFFD."""
        return self._texts[token_id] if token_id < len(self._texts) else ""

    def is_special(self, token_id: int) -> bool:
        return token_id in self._special

    def most_probable(self, log_probs: Tensor, count: int) -> list[Alternative]:
        """Return the most probable tokens, best first; log_probs (V,)."""
        best = log_probs.topk(min(count, len(log_probs)))
        # The digits that float32 has: more would only make trace files longer.
        return [
            Alternative(token_id, self.text(token_id), float(f"{math.exp(log_prob):.7g}"))
            for token_id, log_prob in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]


@functools.lru_cache(maxsize=8)
def vocabulary_of(tokenizer: "PreTrainedTokenizerFast") -> Vocabulary:
    """Return a tokenizer's vocabulary, spelt out once: every run asks for it."""
    return Vocabulary(tokenizer)
