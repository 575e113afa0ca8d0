"""Watches a run: loss and answers on the same held-out rows under the rule of training and that of inference.

The figure to publish is that of the evaluation, whose windows overlap.
"""

from collections.abc import Sequence

import torch
from accelerate.accelerator import Accelerator
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from mor_core.model.model import MoRForCausalLM
from mor_core.model.routing_rules import RoutingRule
from mor_core.training.data import PADDING
from mor_core.training.data_loader import model_inputs

_RULES = (RoutingRule.top_k(), RoutingRule.causal())


class Validation:
    """Held-out rows, and which of their tokens ask a question that the next token answers.

    Shapes: b rows, S tokens, V vocabulary.
    """

    def __init__(
        self,
        batches: Sequence[Tensor],
        accelerator: Accelerator,
        tokenizer: PreTrainedTokenizerFast,
        question_mark: str,
    ) -> None:
        """Prepare the rows.

        Args:
            batches: (b, S) each, `PADDING` behind a row's end.
            accelerator: of the run.
            tokenizer: of the rows.
            question_mark: how the text of a token ends that asks; empty where nothing is asked.
        """
        self.batches = batches
        self.accelerator = accelerator
        self._asks: Tensor | None = None
        if question_mark:
            texts = [str(tokenizer.decode([token])) for token in range(len(tokenizer))]
            self._asks = torch.tensor([text.endswith(question_mark) for text in texts])  # (V,)

    def measure(self, model: MoRForCausalLM) -> dict[str, float]:
        """Return nats a token, and the share of right answers if there are any, under each rule that fits the model."""
        found: dict[str, float] = {}
        for rule in _RULES:
            if not rule.fits(model.config):
                continue
            loss, accuracy = self._under(model, rule)
            found[f"nll_{rule.name}_nats_per_token"] = loss
            if accuracy is not None:
                found[f"answer_accuracy_{rule.name}"] = accuracy
        return found

    def answer_accuracy(self, model: MoRForCausalLM, rule: RoutingRule) -> float:
        """Return the share of questions whose answer is the most probable next token under a rule.

        Raises:
            ValueError: no held-out token asks anything.
        """
        accuracy = self._under(model, rule)[1]
        if accuracy is None:
            raise ValueError(
                "[data] question_mark must end the text of some held-out token, since the fall of the capacities waits "
                "for right answers; got none"
            )
        return accuracy

    def _under(self, model: MoRForCausalLM, rule: RoutingRule) -> tuple[float, float | None]:
        """Return the mean loss over the rows' tokens, and the share of right answers."""
        was_training = model.training
        model.eval()
        # Compiled layers would be compiled anew for each length that the causal rule leaves.
        eager = torch.compiler.set_stance("force_eager")
        nats = 0.0
        right = asked = 0
        total = sum(int((batch[:, 1:] != PADDING).sum()) for batch in self.batches)
        with torch.no_grad(), eager, self.accelerator.autocast():
            for batch in self.batches:
                inputs = model_inputs(batch, self.accelerator.device)
                keep = 1 if self._asks is None else 0
                output = model(**inputs, logits_to_keep=keep, use_cache=False, routing=rule)
                weight = int((batch[:, 1:] != PADDING).sum()) / total
                nats += float(output.loss_terms["lm"]) * weight
                if self._asks is not None:
                    hits, questions = self._answers(batch, output.logits)
                    right, asked = right + hits, asked + questions
        model.train(was_training)
        return nats, right / asked if asked else None

    def _answers(self, batch: Tensor, logits: Tensor) -> tuple[int, int]:
        """Count right answers and questions of a batch (b, S), given its logits (b, S, V)."""
        assert self._asks is not None
        ids, targets = batch[:, :-1], batch[:, 1:]
        asks = self._asks[ids.clamp(min=0)] & (ids != PADDING) & (targets != PADDING)
        said = logits[:, :-1].argmax(-1).cpu()
        return int((said[asks] == targets[asks]).sum()), int(asks.sum())
