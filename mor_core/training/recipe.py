"""A training run as a TOML file. Unknown fields are errors, so that a misspelt option does not train for an hour.

This module does not use tensors. Every section is a frozen dataclass whose fields are the keys, each with its type and
range; rules between fields are in one function.
"""

import dataclasses
import difflib
import json
import math
import tomllib
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from huggingface_hub.errors import (
    StrictDataclassClassValidationError,
    StrictDataclassFieldValidationError,
)

from mor_core.common.field_rules import ABOVE_ZERO, NOT_NEGATIVE, SHARE, check_fields, must
from mor_core.model.config import MoRConfig

_MAX_SEED = 2**32 - 1  # the largest seed that numpy accepts
_BETA = must("be at least 0 and below 1", lambda value: 0 <= value < 1)
_FOLDER_NAME = must(
    "be usable as a folder's name",
    lambda name: bool(name) and Path(name).name == name and not name.startswith("."),
)


class RecipeError(ValueError):
    """The recipe is invalid; the message names section and field, rule, value and remedy."""


@dataclass(frozen=True)
class DataSection:
    """The training data.

    Attributes:
        train: text file in the data folder, `<|endoftext|>` on a line of its own between documents.
        valid: held-out text file of the same form; empty for no validation.
        hugging_face: a data set to stream instead of the two files, such as `roneneldan/TinyStories`.
        subset: the data set's configuration, if it has several.
        text_column: the data set's column of text.
        train_split: the data set's split to train on.
        valid_split: the data set's split to validate on; empty for no validation.
        tokenizer: a folder with a tokenizer.json, in the data folder or anywhere, or a name on the Hugging Face Hub;
            empty to train one on the text.
        max_documents: rows to read from each split; 0 for all.
        rows: `packed` concatenates documents and cuts them into rows; `documents` gives each a padded row of its own.
        question_mark: suffix of the tokens that ask a question. The next token is the answer, and validation reports
            the share of correct answers. Empty for texts without questions.
        final_documents: documents read during the learning-rate decay: `all`, or the `simple` ones.
        final_share: share of the tokens in the simple documents, which have the lowest readability grades.
    """

    train: str = ""
    valid: str = ""
    hugging_face: str = ""
    subset: str = ""
    text_column: str = "text"
    train_split: str = "train"
    valid_split: str = "validation"
    tokenizer: str = ""
    max_documents: int = field(default=0, metadata=NOT_NEGATIVE)
    rows: Literal["packed", "documents"] = "packed"
    question_mark: str = ""
    final_documents: Literal["all", "simple"] = "all"
    final_share: float = field(
        default=0.3, metadata=must("be above 0 and at most 1", lambda value: 0 < value <= 1)
    )


@dataclass(frozen=True)
class OptimiserSection:
    """The optimiser. Source of the defaults: arXiv 2507.10524, Appendix B.

    Attributes:
        name: `adamw`, as in the paper; or `muon` for the matrices of the layers and AdamW for the other weights.
        learning_rate: peak learning rate, for AdamW and Muon alike.
        beta1: AdamW's first beta; Muon's momentum is fixed.
        beta2: AdamW's second beta.
        epsilon: AdamW's epsilon.
        weight_decay: decoupled weight decay of matrices; norms have none.
        gradient_clip: largest global norm of the gradient.
    """

    name: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = field(default=3e-3, metadata=ABOVE_ZERO)
    beta1: float = field(default=0.9, metadata=_BETA)
    beta2: float = field(default=0.95, metadata=_BETA)
    epsilon: float = field(default=1e-8, metadata=ABOVE_ZERO)
    weight_decay: float = field(default=0.1, metadata=NOT_NEGATIVE)
    gradient_clip: float = field(default=1.0, metadata=ABOVE_ZERO)


@dataclass(frozen=True)
class ScheduleSection:
    """The learning rate: linear warm-up, plateau, linear decay over the last part.

    Attributes:
        warmup_tokens: tokens over which the learning rate rises.
        decay_fraction: last share of the steps, over which the learning rate falls.
        final_lr_fraction: learning rate of the last step as a share of the peak.
        capacity_hold_tokens: tokens for which expert-choice capacities stay at 1 before they fall.
        capacity_warmup_tokens: tokens over which expert-choice capacities fall from 1 to the configured ones; 0 for
            no fall.
        skill_accuracy: share of correct held-out answers at full depth before depth has a price; above 0 the accuracy
            decides when capacities fall, see `training_schedule.CapacitySchedule`.
        separation_accuracy: share of correct held-out answers under the configured capacities before they are used.
        accuracy_check_steps: optimiser steps between two checks of these.
        full_capacity_every: with the configured capacities, every n-th step is at full capacity until the learning rate
            decays; 0 for none.
    """

    warmup_tokens: int = field(default=500_000, metadata=NOT_NEGATIVE)
    decay_fraction: float = field(default=0.2, metadata=SHARE)
    final_lr_fraction: float = field(default=0.02, metadata=SHARE)
    capacity_hold_tokens: int = field(default=0, metadata=NOT_NEGATIVE)
    capacity_warmup_tokens: int = field(default=0, metadata=NOT_NEGATIVE)
    skill_accuracy: float = field(default=0.0, metadata=SHARE)
    separation_accuracy: float = field(default=0.9, metadata=SHARE)
    accuracy_check_steps: int = field(default=20, metadata=ABOVE_ZERO)
    full_capacity_every: int = field(default=2, metadata=NOT_NEGATIVE)


@dataclass(frozen=True)
class BudgetSection:
    """When training stops. Exactly one of the two is above 0.

    Attributes:
        tokens: training tokens, rounded up to whole steps.
        flops: training FLOPs, three times the gathered forward pass, rounded up to whole steps.
    """

    tokens: int = 0
    flops: float = 0.0


@dataclass(frozen=True)
class RunSection:
    """How the run is executed.

    Attributes:
        name: name of the run's folder and of the checkpoint.
        title: one line for the model card.
        seed: seed of the initial weights and of the data order.
        batch_tokens: tokens of one optimiser step, over all processes, padding included.
        sequence_tokens: tokens of a row; 0 for the model's context length.
        micro_batch: sequences in one forward pass of one process.
        validate_every_steps: optimiser steps between two validations; 0 for one at the end only.
        validation_blocks: rows of the held-out text that each validation reads.
        save_every_s: seconds between two saved states.
        keep_state_tokens: training tokens after which a copy of the state is kept permanently, so that another run can
            branch off there; 0 for never.
        precision: `auto` uses bf16 if the hardware supports it natively.
        compile: whether to compile the layers with `torch.compile`.
    """

    name: str = field(default="", metadata=_FOLDER_NAME)
    title: str = ""
    seed: int = field(
        default=0,
        metadata=must(f"lie between 0 and {_MAX_SEED}", lambda value: 0 <= value <= _MAX_SEED),
    )
    batch_tokens: int = field(default=8192, metadata=ABOVE_ZERO)
    sequence_tokens: int = field(default=0, metadata=NOT_NEGATIVE)
    micro_batch: int = field(default=8, metadata=ABOVE_ZERO)
    validate_every_steps: int = field(default=250, metadata=NOT_NEGATIVE)
    validation_blocks: int = field(default=64, metadata=ABOVE_ZERO)
    save_every_s: float = field(default=300.0, metadata=ABOVE_ZERO)
    keep_state_tokens: int = field(default=0, metadata=NOT_NEGATIVE)
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    compile: bool = False


def read_section(name: str, kind: type[Any], given: Mapping[str, Any]) -> Any:
    """Build a section, a dataclass of type `kind`, from plain data.

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
    """Return the end of an error message: the known name closest to `key`, or all known names."""
    names = list(known)
    near = difflib.get_close_matches(key, names, n=1)
    return f"; did you mean {near[0]}?" if near else f"; it has {', '.join(names)}"


@dataclass(frozen=True)
class Recipe:
    """A training run; `model` holds fields of `MoRConfig`."""

    model: Mapping[str, Any]
    data: DataSection
    optimiser: OptimiserSection = field(default_factory=OptimiserSection)
    schedule: ScheduleSection = field(default_factory=ScheduleSection)
    budget: BudgetSection = field(default_factory=BudgetSection)
    run: RunSection = field(default_factory=RunSection)

    def config(self) -> MoRConfig:
        """Build the model's configuration.

        Raises:
            RecipeError: a field is unknown, of the wrong type or contradicts another.
        """
        try:
            return MoRConfig(**self.model)
        except StrictDataclassClassValidationError as error:
            raise RecipeError(f"[model] {error.__cause__ or error}") from error
        except (StrictDataclassFieldValidationError, ValueError, TypeError) as error:
            raise RecipeError(f"[model] {error}") from error

    @property
    def sequence_tokens(self) -> int:
        """Tokens of a row."""
        return self.run.sequence_tokens or self.config().max_position_embeddings

    def as_dict(self) -> dict[str, dict[str, Any]]:
        """Return all sections as plain data, defaults included."""
        plain = {"model": dict(self.model)}
        for name in _SECTIONS:
            plain[name] = dataclasses.asdict(getattr(self, name))
        return plain

    def changed_fields(self, other: "Recipe") -> list[str]:
        """List the fields in which the recipes differ, except those that do not change the trained weights."""
        harmless = {
            "run.save_every_s",
            "run.keep_state_tokens",
            "run.validate_every_steps",
            "run.validation_blocks",
            "run.title",
        }
        mine, theirs = _flat(self.as_dict()), _flat(other.as_dict())
        names = sorted(mine.keys() | theirs.keys())
        return [
            name for name in names if name not in harmless and mine.get(name) != theirs.get(name)
        ]


_SECTIONS: dict[str, type[Any]] = {
    "data": DataSection,
    "optimiser": OptimiserSection,
    "schedule": ScheduleSection,
    "budget": BudgetSection,
    "run": RunSection,
}


def load_recipe(path: Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe file; `overrides` such as {"budget.tokens": 10_000} take precedence.

    Raises:
        RecipeError: the file is missing, is not TOML, or a field is unknown or invalid.
    """
    try:
        sections = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RecipeError(
            f"the recipe {path} was not found; see the folder recipes/ for examples"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} must be a TOML file: {error}") from error
    for name, value in (overrides or {}).items():
        section, dot, key = name.partition(".")
        if not dot or not isinstance(sections.setdefault(section, {}), dict):
            raise RecipeError(f"an override must be named section.field, got {name!r}")
        sections[section][key] = value
    return parse_recipe(sections, default_name=path.stem)


def parse_recipe(sections: Mapping[str, Any], *, default_name: str = "") -> Recipe:
    """Check plain data and build the recipe.

    Raises:
        RecipeError: as in `load_recipe`.
    """
    known = ["model", *_SECTIONS]
    for name, section in sections.items():
        if name not in known:
            raise RecipeError(f"the recipe has no section [{name}]{hint(name, known)}")
        if not isinstance(section, dict):
            raise RecipeError(f"{name} must be a section, written [{name}], got {section!r}")
    parts = {
        name: read_section(name, kind, sections.get(name, {})) for name, kind in _SECTIONS.items()
    }
    if not parts["run"].name:
        parts["run"] = dataclasses.replace(parts["run"], name=default_name)
    recipe = Recipe(model=dict(sections.get("model", {})), **parts)
    _check(recipe)
    return recipe


def recipe_text(recipe: Recipe) -> str:
    """Return a recipe as TOML, defaults included."""
    lines: list[str] = []
    for section, fields in recipe.as_dict().items():
        lines += [f"[{section}]"]
        # A string, a number or a list of numbers is written alike in JSON and TOML.
        lines += [
            f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in fields.items()
        ]
        lines += [""]
    return "\n".join(lines)


def _flat(sections: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {
        f"{section}.{key}": value
        for section, fields in sections.items()
        for key, value in fields.items()
    }


def _check(recipe: Recipe) -> None:
    """Reject values outside their range and sections that contradict each other."""
    config = recipe.config()
    try:
        for name, kind in _SECTIONS.items():
            check_fields(kind, vars(getattr(recipe, name)), f"[{name}] ")
    except ValueError as error:
        raise RecipeError(str(error)) from error
    for name in ("capacity_hold_tokens", "capacity_warmup_tokens", "skill_accuracy"):
        given = getattr(recipe.schedule, name)
        if given and not config.router.has_top_k:
            raise RecipeError(
                f"[schedule] {name} belongs to expert-choice, "
                f'got {given} with router_type="{config.router_type}"; leave it out'
            )
    _check_accuracy_gate(recipe)
    if (recipe.budget.tokens > 0) == (recipe.budget.flops > 0):
        raise RecipeError(
            "[budget] must give exactly one of tokens and flops above 0, "
            f"got tokens={recipe.budget.tokens}, flops={recipe.budget.flops}"
        )
    if bool(recipe.data.train) == bool(recipe.data.hugging_face):
        raise RecipeError(
            "[data] must give exactly one of train (a text file) and hugging_face (a data set), "
            f"got train={recipe.data.train!r}, hugging_face={recipe.data.hugging_face!r}"
        )
    context, length = config.max_position_embeddings, recipe.sequence_tokens
    if length > context:
        raise RecipeError(
            f"[run] sequence_tokens must be at most max_position_embeddings={context}, got {length}; "
            "give a longer context or shorter rows"
        )
    together = recipe.run.micro_batch * length
    if recipe.run.batch_tokens % together:
        row = "sequence_tokens" if recipe.run.sequence_tokens else "context"
        raise RecipeError(
            f"[run] batch_tokens must be a multiple of micro_batch x {row} ({recipe.run.micro_batch} x {length} = "
            f"{together}), got {recipe.run.batch_tokens}"
        )


def _check_accuracy_gate(recipe: Recipe) -> None:
    """Reject capacities gated by accuracy without held-out questions or a budget of tokens."""
    schedule = recipe.schedule
    if not schedule.skill_accuracy:
        return
    if schedule.capacity_hold_tokens or schedule.capacity_warmup_tokens:
        raise RecipeError(
            "[schedule] skill_accuracy lets accuracy on held-out questions decide when capacities fall, and excludes "
            "the fall by tokens, got also "
            f"capacity_hold_tokens={schedule.capacity_hold_tokens}, "
            f"capacity_warmup_tokens={schedule.capacity_warmup_tokens}; leave these out"
        )
    held_out = recipe.data.valid_split if recipe.data.hugging_face else recipe.data.valid
    if not (recipe.data.question_mark and held_out):
        raise RecipeError(
            "[schedule] skill_accuracy needs held-out questions: give [data] question_mark and a held-out text, "
            f"got question_mark={recipe.data.question_mark!r} and held-out text {held_out!r}"
        )
    if not recipe.budget.tokens:
        raise RecipeError(
            "[schedule] skill_accuracy needs [budget] tokens, since the FLOPs of such a run are not known in advance, "
            f"got flops={recipe.budget.flops}; set [budget] tokens instead"
        )
