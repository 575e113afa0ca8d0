"""Collects the settings of an official run, by their official names and with the origin of each.

The run's `conf.yaml` holds them, the official `config.json` does not. Without `conf.yaml`, settings are inferred from
the weights and `config.json`; one error lists all that are still missing. Independent of our configuration.

Source: arXiv 2507.10524, Appendix G (the paper's choices); the official code's settings files.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

Origin = Literal["given", "inferred", "official default", "paper"]

PAPER_DEFAULTS = {
    "mor.capacity": None,  # (N - r + 1) / N at recursion r
    "mor.temp": 1.0,
    "mor.z_loss": False,
    "mor.z_coeff": 0.001,
    "mor.expert.router_func": "sigmoid",
    "mor.expert.alpha": 0.1,
    "mor.expert.coeff": 0.001,
    "mor.expert.gating": "weighted",
    "mor.token.router_func": "softmax",
    "mor.token.alpha": 1.0,
    "mor.token.coeff": 0.1,
    "mor.token.u": 0.001,
    "mor.token.gating": "weighted",
}
"""The paper's choices. Its token-choice also has a small z-loss, but the sources disagree on its coefficient."""
_OFFICIAL_DEFAULTS = {
    "mor.capacity": None,
    "mor.temp": 1.0,
    "mor.z_loss": False,
    "mor.z_coeff": 0.001,
    "mor.expert.gating": "weighted",
    "mor.token.router_func": "softmax",
    "mor.token.u": 0.001,
    "mor.token.gating": "weighted",
}
"""The official code's defaults for settings that its settings file lacks."""
_WITHOUT_PAPER_DEFAULT = (
    "recursive.enable",
    "recursive.num_recursion",
    "recursive.sharing",
    "recursive.ln_share",
    "kv_sharing.enable",
    "kv_sharing.update_cache",
    "relaxation.enable",
    "mor.enable",
    "mor.type",
    "mor.rand_router",
    "mor.expert.sampling",
    "mor.token.balancing",
)
SETTING_NAMES = (*_WITHOUT_PAPER_DEFAULT, *PAPER_DEFAULTS)
"""The official settings that affect a model's computation or the training of its router."""


@dataclass(frozen=True)
class Setting:
    """The value of a setting and its origin."""

    value: Any
    origin: Origin


@dataclass
class OfficialSettings:
    """The known settings of a run.

    Attributes:
        known: by dotted official name.
        used: those that have been read, in that order.
    """

    known: dict[str, Setting]
    used: dict[str, Setting] = field(default_factory=dict)

    def __contains__(self, name: str) -> bool:
        return name in self.known

    def __getitem__(self, name: str) -> Any:
        self.used[name] = self.known[name]
        return self.known[name].value

    def number(self, name: str) -> float:
        """Return a setting as a number, even if YAML reads it as text, such as 1e-3.

        Raises:
            ValueError: the value is not a number.
        """
        value = self[name]
        try:
            return float(value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name} must be a number, got {value!r}") from error

    def is_on(self, name: str) -> bool:
        """Return a boolean setting; False if it is unknown or null.

        Raises:
            ValueError: the value is neither true nor false.
        """
        value = self[name] if name in self.known else False
        if value not in (True, False, None):
            raise ValueError(f"{name} must be true or false, got {value!r}")
        return bool(value)

    def require(self, names: list[str]) -> None:
        """Check that the named settings are known.

        Raises:
            ValueError: lists the missing names and how to give them.
        """
        missing = [name for name in names if name not in self.known]
        if not missing:
            return
        ways = f"give each (--set {missing[0]}=VALUE), or the run's settings file (--settings conf.yaml)"
        if all(name in PAPER_DEFAULTS for name in missing):
            ways += ", or use the paper's values (--paper-defaults)"
        raise ValueError(
            f"these official settings are needed, and neither config.json nor the weights show them: "
            f"{', '.join(missing)}; {ways}"
        )


def gather_settings(
    file: Path | None,
    given: Mapping[str, Any],
    inferred: Mapping[str, Any],
    *,
    paper_defaults: bool,
) -> OfficialSettings:
    """Collect settings. Precedence, highest first: `given`, the file, `inferred`, official defaults, paper defaults.

    Args:
        file: the run's conf.yaml, if there is one.
        given: by dotted official name.
        inferred: from the weights, by the same names.
        paper_defaults: use the paper's values for missing settings.

    Raises:
        ValueError: a name in `given` is not an official setting, or the file cannot be read.
    """
    for name in given:
        if name not in SETTING_NAMES:
            near = difflib.get_close_matches(name, SETTING_NAMES, n=1)
            hint = f"; did you mean {near[0]}?" if near else f": {', '.join(SETTING_NAMES)}"
            raise ValueError(f"{name!r} is not a supported official setting{hint}")
    in_file = {} if file is None else _read_file(file)
    known: dict[str, Setting] = {}
    sources: list[tuple[Mapping[str, Any], Origin]] = [
        (PAPER_DEFAULTS if paper_defaults else {}, "paper"),
        (
            _OFFICIAL_DEFAULTS if any(name.startswith("mor.") for name in in_file) else {},
            "official default",
        ),
        (inferred, "inferred"),
        (in_file, "given"),
        (given, "given"),
    ]
    for values, origin in sources:
        known |= {name: Setting(value, origin) for name, value in values.items()}
    return OfficialSettings(known)


def _read_file(file: Path) -> dict[str, Any]:
    """Return the settings in `SETTING_NAMES` from a run's settings file, by dotted name."""
    try:
        tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{file.name} cannot be read as YAML: {error}") from error
    if not isinstance(tree, dict):
        raise ValueError(f"{file.name} must hold a YAML mapping, got {type(tree).__name__}")
    flat = _flattened(tree)
    return {name: flat[name] for name in SETTING_NAMES if name in flat}


def read_setting(assignment: str) -> tuple[str, Any]:
    """Parse NAME=VALUE, with the value as YAML.

    Raises:
        ValueError: the text has another form.
    """
    name, separator, text = assignment.partition("=")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        separator = ""
    if not separator or not name:
        raise ValueError(f"a setting must be NAME=VALUE, got {assignment!r}")
    return name, value


def _flattened(tree: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flattened(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
