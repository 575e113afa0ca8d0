"""Records the depth of every token of a text in a table, for the statistics of `depth_statistics.py`.

Shapes: B windows per batch, S positions, R recursions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from mor_core.checkpoints.checkpoint import LoadedCheckpoint
from mor_core.checkpoints.token_text import vocabulary_of
from mor_core.checkpoints.tokenizer import DOCUMENT_START_ID, encode_texts
from mor_core.generation.logit_lens import early_exit_logits
from mor_core.model.routing_rules import RoutingRule
from mor_core.traces.token_class import token_classes
from mor_core.traces.windows import Window, split_windows


@dataclass(frozen=True)
class _Token:
    text: str
    special: bool


def record_depths(
    loaded: LoadedCheckpoint, documents: Sequence[str], rule: RoutingRule
) -> pd.DataFrame:
    """Run a model over documents and return one row for each content token.

    Columns: `document`, `position` within it (the document start is 0), `window_position` within the window that the
    model read, `token_id`, `token_class`, `depth`, `surprisal` of the next token in nats (NaN at a document's last
    token), `prediction_depth` (the first recursion whose early exit predicts the same token as the last), and `logit_1`
    to `logit_R` of the router that decides (NaN if it did not score the token).

    Raises:
        ValueError: the rule does not fit the model.
    """
    context = loaded.model.config.max_position_embeddings
    vocabulary = vocabulary_of(loaded.tokenizer)
    frames = []
    for number, ids in enumerate(encode_texts(loaded.tokenizer, documents)):
        ids = [DOCUMENT_START_ID, *ids]
        tokens = [_Token(vocabulary.text(token), vocabulary.is_special(token)) for token in ids]
        read = [
            _read_window(loaded, ids, window, rule) for window in split_windows(len(ids), context)
        ]
        frame = pd.concat(read, ignore_index=True)
        frame.insert(0, "document", number)
        frame.insert(3, "token_id", ids)
        frame.insert(4, "token_class", token_classes(tokens))
        frames.append(frame.iloc[1:])
    return pd.concat(frames, ignore_index=True)


def _read_window(
    loaded: LoadedCheckpoint, ids: list[int], window: Window, rule: RoutingRule
) -> pd.DataFrame:
    """Return the rows of the positions that no earlier window has scored."""
    part = torch.tensor([ids[window.start : window.end]], device=loaded.model.device)
    exits, trace = early_exit_logits(loaded.model, part, rule)
    new = slice(window.first_new - window.start, window.end - window.start)
    columns: dict[str, Tensor] = {
        "depth": trace.depth()[0, new],
        "surprisal": _next_surprisal(exits[-1][0], part[0], ids, window)[new],
        "prediction_depth": _prediction_depth(exits)[0, new],
    }
    logits = trace.router_logits()[0, new] if trace.router is not None else None
    frame = pd.DataFrame({name: values.cpu().numpy() for name, values in columns.items()})
    frame.insert(0, "position", range(window.first_new, window.end))
    frame.insert(1, "window_position", range(new.start, new.stop))
    if logits is not None:
        for index in range(logits.shape[-1]):
            frame[f"logit_{index + 1}"] = logits[:, index].float().cpu().numpy()
    return frame


def _next_surprisal(logits: Tensor, part: Tensor, ids: list[int], window: Window) -> Tensor:
    """Return -log p of the token after each position of a window, (S,); NaN after the document's last."""
    after = ids[window.end] if window.end < len(ids) else 0
    targets = torch.cat((part[1:], part.new_tensor([after])))
    surprisal = torch.nn.functional.cross_entropy(logits.float(), targets, reduction="none")
    if window.end == len(ids):
        surprisal[-1] = float("nan")
    return surprisal


def _prediction_depth(exits: list[Tensor]) -> Tensor:
    """Return the first recursion (1-based) whose most probable token is the last one's; (B, S)."""
    predicted = torch.stack([logits.argmax(-1) for logits in exits])  # (R, B, S)
    return (predicted == predicted[-1]).int().argmax(0) + 1
