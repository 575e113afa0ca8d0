"""A training run as a TOML file: read strictly, so that a misspelt option never trains for an hour.

Knows nothing of tensors. Every section is a frozen dataclass; its fields are the keys.
"""

import dataclasses
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub.errors import (
    StrictDataclassClassValidationError,
    StrictDataclassFieldValidationError,
)

from mor_core.model.config import MoRConfig
from mor_core.training.recipe_sections import (
    BudgetSection,
    DataSection,
    OptimiserSection,
    RecipeError,
    RunSection,
    ScheduleSection,
    hint,
    read_section,
)


@dataclass(frozen=True)
class Recipe:
    """A whole run. `model` holds fields of `MoRConfig`."""

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

    def as_dict(self) -> dict[str, dict[str, Any]]:
        """Return all sections as plain data, defaults filled in."""
        plain = {"model": dict(self.model)}
        for name in _SECTIONS:
            plain[name] = dataclasses.asdict(getattr(self, name))
        return plain

    def changed_fields(self, other: "Recipe") -> list[str]:
        """List the fields that would make another run of `other`; when it saves and validates does not."""
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


_MAX_SEED = 2**32 - 1  # numpy takes no more
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
        RecipeError: the file is missing, no TOML, or asks for something impossible.
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
    """Write a recipe as TOML, every default spelled out."""
    lines: list[str] = []
    for section, fields in recipe.as_dict().items():
        lines += [f"[{section}]"]
        # A JSON text, number or list of numbers is also TOML.
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
    """Refuse values outside their range, and sections that contradict each other."""
    config = recipe.config()
    above_zero = {
        "[optimiser] learning_rate": recipe.optimiser.learning_rate,
        "[optimiser] epsilon": recipe.optimiser.epsilon,
        "[optimiser] gradient_clip": recipe.optimiser.gradient_clip,
        "[run] batch_tokens": recipe.run.batch_tokens,
        "[run] micro_batch": recipe.run.micro_batch,
        "[run] validation_blocks": recipe.run.validation_blocks,
        "[run] save_every_s": recipe.run.save_every_s,
        "[data] final_share": recipe.data.final_share,
    }
    not_negative = {
        "[optimiser] weight_decay": recipe.optimiser.weight_decay,
        "[schedule] warmup_tokens": recipe.schedule.warmup_tokens,
        "[schedule] capacity_warmup_tokens": recipe.schedule.capacity_warmup_tokens,
        "[run] seed": recipe.run.seed,
        "[run] validate_every_steps": recipe.run.validate_every_steps,
        "[run] keep_state_tokens": recipe.run.keep_state_tokens,
        "[data] max_documents": recipe.data.max_documents,
    }
    for name, value in above_zero.items():
        if not value > 0:
            raise RecipeError(f"{name} must be above 0, got {value}")
    for name, value in not_negative.items():
        if value < 0:
            raise RecipeError(f"{name} must not be negative, got {value}")
    shares = {
        "[schedule] decay_fraction": recipe.schedule.decay_fraction,
        "[schedule] final_lr_fraction": recipe.schedule.final_lr_fraction,
        "[data] final_share": recipe.data.final_share,
    }
    for name, value in shares.items():
        if not 0 <= value <= 1:
            raise RecipeError(f"{name} must lie between 0 and 1, got {value}")
    for name, value in (("beta1", recipe.optimiser.beta1), ("beta2", recipe.optimiser.beta2)):
        if not 0 <= value < 1:
            raise RecipeError(f"[optimiser] {name} must be at least 0 and below 1, got {value}")
    if recipe.schedule.capacity_warmup_tokens and config.router_type != "expert_choice":
        raise RecipeError(
            "[schedule] capacity_warmup_tokens belongs to expert-choice, "
            f'got {recipe.schedule.capacity_warmup_tokens} with router_type="{config.router_type}"; leave it out'
        )
    _check_amounts(recipe, config.max_position_embeddings)


def _check_amounts(recipe: Recipe, context: int) -> None:
    if recipe.run.seed > _MAX_SEED:
        raise RecipeError(f"[run] seed must be at most {_MAX_SEED}, got {recipe.run.seed}")
    name = recipe.run.name
    if not name or Path(name).name != name or name.startswith("."):
        raise RecipeError(f"[run] name must be usable as a folder's name, got {name!r}")
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
    sequence_tokens = recipe.run.micro_batch * context
    if recipe.run.batch_tokens % sequence_tokens:
        raise RecipeError(
            f"[run] batch_tokens must be a multiple of micro_batch x context ({recipe.run.micro_batch} x {context} = "
            f"{sequence_tokens}), got {recipe.run.batch_tokens}"
        )
