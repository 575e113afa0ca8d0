"""Maps token ids of a byte-level vocabulary to bytes and text, and logits to the most probable tokens.

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
        longest: length of the longest token, in bytes.
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
        """Return the token's exact bytes; empty for ids that the model has and the tokenizer lacks."""
        return self._bytes[token_id] if token_id < len(self._bytes) else b""

    def text(self, token_id: int) -> str:
        """Return the token decoded alone; bytes that are not valid UTF-8 by themselves become U+FFFD."""
        return self._texts[token_id] if token_id < len(self._texts) else ""

    def is_special(self, token_id: int) -> bool:
        return token_id in self._special

    def most_probable(self, log_probs: Tensor, count: int) -> list[Alternative]:
        """Return the `count` most probable tokens, best first; log_probs (V,)."""
        best = log_probs.topk(min(count, len(log_probs)))
        # float32 has about 7 significant digits; more would only make trace files larger.
        return [
            Alternative(token_id, self.text(token_id), float(f"{math.exp(log_prob):.7g}"))
            for token_id, log_prob in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]


@functools.lru_cache(maxsize=8)
def vocabulary_of(tokenizer: "PreTrainedTokenizerFast") -> Vocabulary:
    """Return a tokenizer's vocabulary; cached, since every run needs it."""
    return Vocabulary(tokenizer)
