"""The sections of a recipe: their fields, defaults and types, and the reader that refuses anything else.

Knows nothing of how the sections depend on each other; that is in `recipe.py`.
"""

import difflib
import math
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal


class RecipeError(ValueError):
    """A recipe that cannot be followed: section and field, rule, value, remedy."""


@dataclass(frozen=True)
class DataSection:
    """What to read.

    Attributes:
        train: text file in the data folder, `<|endoftext|>` on a line of its own between documents.
        valid: the same, held out; empty for no validation.
        hugging_face: a data set to stream instead of the two files, such as `roneneldan/TinyStories`.
        subset: its configuration, if it has several.
        text_column: its column.
        train_split: its split to train on.
        valid_split: its split to validate on; empty for no validation.
        tokenizer: a folder with a tokenizer.json, or a name on the Hugging Face Hub; empty to learn one from the text.
        max_documents: rows to take of each split; 0 for all.
        final_documents: what the learning-rate decay reads: `all` documents, or the `simple` ones.
        final_share: the simple ones are those of the lowest reading grades that hold this share of the tokens.
    """

    train: str = ""
    valid: str = ""
    hugging_face: str = ""
    subset: str = ""
    text_column: str = "text"
    train_split: str = "train"
    valid_split: str = "validation"
    tokenizer: str = ""
    max_documents: int = 0
    final_documents: Literal["all", "simple"] = "all"
    final_share: float = 0.3


@dataclass(frozen=True)
class OptimiserSection:
    """The decay applies to matrices, not to norms. Source of the defaults: arXiv 2507.10524, Appendix B.

    Attributes:
        name: `adamw`, as in the paper; or `muon` for the matrices of the layers, with AdamW for all else.
        learning_rate: of the plateau, for both.
        beta1: of AdamW; Muon has its own momentum.
        beta2: of AdamW.
        epsilon: of AdamW.
        weight_decay: of matrices.
        gradient_clip: largest norm of the whole gradient.
    """

    name: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = 3e-3
    beta1: float = 0.9
    beta2: float = 0.95
    epsilon: float = 1e-8
    weight_decay: float = 0.1
    gradient_clip: float = 1.0


@dataclass(frozen=True)
class ScheduleSection:
    """The learning rate: linear warm-up, plateau, linear decay over the last part.

    Attributes:
        warmup_tokens: read while the rate rises.
        decay_fraction: last share of the steps, over which it falls.
        final_lr_fraction: share of the peak that it falls to.
        capacity_warmup_tokens: over which expert-choice capacities fall from 1 to the model's; 0 for none.
    """

    warmup_tokens: int = 500_000
    decay_fraction: float = 0.2
    final_lr_fraction: float = 0.02
    capacity_warmup_tokens: int = 0


@dataclass(frozen=True)
class BudgetSection:
    """When to stop: exactly one of the two is above 0.

    Attributes:
        tokens: read in training, rounded up to whole steps.
        flops: training FLOPs, three times the gathered forward pass, rounded up to whole steps.
    """

    tokens: int = 0
    flops: float = 0.0


@dataclass(frozen=True)
class RunSection:
    """How to run.

    Attributes:
        name: of the run's folder and of the checkpoint.
        title: a line for the model card.
        seed: of weights and order.
        batch_tokens: of one optimiser step, over all processes.
        micro_batch: sequences of one forward pass of one process.
        validate_every_steps: 0 for the end only.
        validation_blocks: blocks of the held-out text that are read each time.
        save_every_s: seconds between two saved states.
        keep_state_tokens: read when the state is kept for good, for a run that branches off; 0 for never.
        precision: `auto` takes bf16 where the hardware multiplies it natively.
        compile: compile the layers first.
    """

    name: str = ""
    title: str = ""
    seed: int = 0
    batch_tokens: int = 8192
    micro_batch: int = 8
    validate_every_steps: int = 250
    validation_blocks: int = 64
    save_every_s: float = 300.0
    keep_state_tokens: int = 0
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    compile: bool = False


def read_section(name: str, kind: type[Any], given: Mapping[str, Any]) -> Any:
    """Build a section of the given kind from plain data.

    Raises:
        RecipeError: a key is unknown or a value has the wrong type.
    """
    types_of = typing.get_type_hints(kind)
    values: dict[str, Any] = {}
    for key, value in given.items():
        if key not in types_of:
            raise RecipeError(f"[{name}] has no field {key!r}{hint(key, types_of)}")
        values[key] = _typed(f"[{name}] {key}", types_of[key], value)
    return kind(**values)


def _typed(where: str, wanted: Any, value: Any) -> Any:
    if typing.get_origin(wanted) is Literal:
        choices = typing.get_args(wanted)
        if value not in choices:
            raise RecipeError(f"{where} must be one of {', '.join(choices)}, got {value!r}")
        return value
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if wanted is float and is_number and math.isfinite(value):
        return float(value)
    if wanted is int and is_number and float(value).is_integer():
        return int(value)  # 5e6 is a float in TOML
    if wanted in (str, bool) and isinstance(value, wanted):
        return value
    words = {
        float: "a finite number",
        int: "a whole number",
        str: "a text in quotes",
        bool: "true or false",
    }
    raise RecipeError(f"{where} must be {words[wanted]}, got {value!r}")


def hint(key: str, known: Iterable[str]) -> str:
    """Return what the user may have meant, as the end of a message."""
    names = list(known)
    near = difflib.get_close_matches(key, names, n=1)
    return f"; did you mean {near[0]}?" if near else f"; it has {', '.join(names)}"
