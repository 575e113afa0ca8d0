"""The request that benchmarks of the engine make: so many tokens, each the most probable, and nothing recorded."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from mor_core.model.model import MoROutput
from mor_core.model.routing_rules import RoutingRule
from mor_core.serving.request_state import Processed


@dataclass
class PlainRequest:
    """A request for `max_new_tokens` tokens after `ids`; `num_taken` counts those that it got."""

    ids: Sequence[int]
    rule: RoutingRule
    max_new_tokens: int
    needs_prompt_logits: bool = False
    num_taken: int = 0

    def begin(self, output: MoROutput, latency_s: float) -> int | None:  # noqa: ARG002
        """Take the prompt's outcome; return its most probable continuation."""
        assert output.logits is not None
        return self._take(output.logits[0, -1].float().cpu())

    def advance(self, processed: Processed, logits: Tensor) -> int | None:  # noqa: ARG002
        """Take logits (V,); return the most probable token, `None` once there are enough."""
        return self._take(logits)

    def _take(self, logits: Tensor) -> int | None:  # (V,), float32, on the host
        self.num_taken += 1
        chosen = int(logits.numpy().argmax())
        return chosen if self.num_taken < self.max_new_tokens else None
