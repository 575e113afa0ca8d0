"""Validation during a run: held-out loss and answer accuracy, under the routing rules of training and of inference.

The loss to publish comes from mor_core.evaluation, whose windows overlap.
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
    """Held-out rows, and which tokens are questions that the next token answers.

    Shapes: b rows of a batch, S tokens of a row, V vocabulary size.
    """

    def __init__(
        self,
        batches: Sequence[Tensor],
        accelerator: Accelerator,
        tokenizer: PreTrainedTokenizerFast,
        question_mark: str,
    ) -> None:
        """Keep the rows and find the question tokens of the vocabulary.

        Args:
            batches: (b, S) each, `PADDING` after a document's end.
            accelerator: the run's accelerator.
            tokenizer: the tokenizer of the rows.
            question_mark: suffix of the tokens that ask a question; empty if the text has no questions.
        """
        self.batches = batches
        self.accelerator = accelerator
        self._is_question: Tensor | None = None
        if question_mark:
            texts = [str(tokenizer.decode([token])) for token in range(len(tokenizer))]
            self._is_question = torch.tensor(
                [text.endswith(question_mark) for text in texts]
            )  # (V,)

    def measure(self, model: MoRForCausalLM) -> dict[str, float]:
        """Return nats per token and, if there are questions, answer accuracy, under each rule that fits the model."""
        found: dict[str, float] = {}
        for rule in _RULES:
            if not rule.fits(model.config):
                continue
            loss, accuracy = self._evaluate(model, rule)
            found[f"nll_{rule.name}_nats_per_token"] = loss
            if accuracy is not None:
                found[f"answer_accuracy_{rule.name}"] = accuracy
        return found

    def answer_accuracy(self, model: MoRForCausalLM, rule: RoutingRule) -> float:
        """Return the share of questions whose answer is the most probable next token under a rule.

        Raises:
            ValueError: no held-out token is a question.
        """
        accuracy = self._evaluate(model, rule)[1]
        if accuracy is None:
            raise ValueError(
                "[data] question_mark must be the suffix of a held-out token, since [schedule] skill_accuracy waits "
                "for correct answers, got no such token; give the text's question mark or leave skill_accuracy out"
            )
        return accuracy

    def _evaluate(self, model: MoRForCausalLM, rule: RoutingRule) -> tuple[float, float | None]:
        """Return the mean loss over the rows' tokens, and answer accuracy (`None` without questions)."""
        was_training = model.training
        model.eval()
        # Compiled layers would recompile for each number of tokens that the causal rule selects.
        eager = torch.compiler.set_stance("force_eager")
        nats = 0.0
        num_correct = num_questions = 0
        total = sum(int((batch[:, 1:] != PADDING).sum()) for batch in self.batches)
        with torch.no_grad(), eager, self.accelerator.autocast():
            for batch in self.batches:
                inputs = model_inputs(batch, self.accelerator.device)
                keep = 1 if self._is_question is None else 0
                output = model(**inputs, logits_to_keep=keep, use_cache=False, routing=rule)
                weight = int((batch[:, 1:] != PADDING).sum()) / total
                nats += float(output.loss_terms["lm"]) * weight
                if self._is_question is not None:
                    correct, questions = self._count_answers(batch, output.logits)
                    num_correct, num_questions = num_correct + correct, num_questions + questions
        model.train(was_training)
        return nats, num_correct / num_questions if num_questions else None

    def _count_answers(self, batch: Tensor, logits: Tensor) -> tuple[int, int]:
        """Return the number of correct answers and of questions in a batch (b, S), given its logits (b, S, V)."""
        assert self._is_question is not None
        ids, targets = batch[:, :-1], batch[:, 1:]
        is_question = self._is_question[ids.clamp(min=0)] & (ids != PADDING) & (targets != PADDING)
        predicted = logits[:, :-1].argmax(-1).cpu()
        return int((predicted[is_question] == targets[is_question]).sum()), int(is_question.sum())
