"""Routing rules as data: which tokens enter each recursion. They are checked against a model and written into traces.

Training selects the top-k tokens of the whole sequence, which is not causal: the selection depends on later tokens.
Inference is causal: each token's own score decides. The other rules override the router, for teaching and for controls.
This module has no tensors; `expert_choice.py` and `token_choice.py` apply the rules.

Source: arXiv 2507.10524, section 2.2.1.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mor_core.common.logistic import logit

if TYPE_CHECKING:
    from mor_core.model.config import MoRConfig

RuleName = Literal["causal", "aux", "top_k", "fixed", "random", "forced"]
Gate = Literal["learned", "open"]
RULE_FORMS = (
    "causal, aux, top_k, fixed:D (D = 1, 2, ...), random, random_by_position or forced:FILE"
)
DEFAULT_THRESHOLD = 0.5
MAX_SEED = 2**63 - 1
_MAX_FORCED_BYTES = 2**20


@dataclass(frozen=True)
class RoutingRule:
    """Which tokens enter each recursion of a run.

    Attributes:
        name: `causal` (expert-choice: score at or above the threshold, by the auxiliary router where there is one;
            token-choice: the most probable depth), `aux` (the same, but only for an auxiliary router), `top_k` (the
            training rule of expert-choice; sees later tokens), `fixed` (every token takes `depth` recursions),
            `random` (random routing by a hash, with the trained shares) or `forced` (a depth for each position).
        gate: `learned` multiplies the block's output by the token's own gate, `open` by alpha.
        thresholds: for `causal` and `aux`, one score in (0, 1) for all recursions, or one for each.
        depth: for `fixed`.
        seed: for `random`.
        draws: for `random` and for a control, what random numbers depend on beside the seed: the `text`, so that texts
            of equal length are routed differently, or the `position` only, as in the first release.
        depths: for `forced`, by position; where it has `None`, and after its end, the `causal` rule decides.
        capacities: for `top_k`, capacity factors that replace the model's own during capacity warm-up.
        max_depth: no token enters a deeper recursion; up to it the rule decides. Not for rules that set depths.
    """

    name: RuleName
    gate: Gate = "learned"
    thresholds: tuple[float, ...] = (DEFAULT_THRESHOLD,)
    depth: int | None = None
    seed: int = 0
    depths: tuple[int | None, ...] = ()
    capacities: tuple[float, ...] | None = None
    max_depth: int | None = None
    draws: Literal["text", "position"] = "text"

    def __post_init__(self) -> None:
        for threshold in self.thresholds:
            if not 0 < threshold < 1:
                raise ValueError(
                    f"threshold must lie between 0 and 1, got {threshold}; 0.5 is the threshold that training aims at"
                )
        if (self.name == "fixed") != (self.depth is not None):
            raise ValueError(
                f"depth belongs to the fixed rule alone, got {self.depth} with {self.name}"
            )
        if self.depth is not None and self.depth < 1:
            raise ValueError(f"depth must be at least 1, got {self.depth}")
        if not 0 <= self.seed <= MAX_SEED:
            raise ValueError(f"seed must lie between 0 and {MAX_SEED}, got {self.seed}")
        if (self.name == "forced") != bool(self.depths):
            raise ValueError(f"depths belong to the forced rule alone, got {self.name}")
        for position, depth in enumerate(self.depths):
            if depth is not None and depth < 1:
                raise ValueError(f"depths must be at least 1, got {depth} at position {position}")
        self._check_cap()

    @classmethod
    def top_k(cls, capacities: Sequence[float] | None = None) -> "RoutingRule":
        """Return the training rule of expert-choice."""
        return cls("top_k", capacities=None if capacities is None else tuple(capacities))

    @classmethod
    def causal(cls, threshold: float | Sequence[float] = DEFAULT_THRESHOLD) -> "RoutingRule":
        """Return the rule of inference."""
        return cls("causal", thresholds=_thresholds(threshold))

    @classmethod
    def aux(cls, threshold: float | Sequence[float] = DEFAULT_THRESHOLD) -> "RoutingRule":
        """Return the rule of inference where an auxiliary router decides and the main router gates."""
        return cls("aux", thresholds=_thresholds(threshold))

    @classmethod
    def fixed(cls, depth: int, gate: Gate = "learned") -> "RoutingRule":
        """Return the rule by which every token takes `depth` recursions."""
        return cls("fixed", gate=gate, depth=depth)

    @classmethod
    def random(cls, seed: int = 0, gate: Gate = "learned") -> "RoutingRule":
        """Return random routing with the trained shares, the same in cached, recomputed, batched and single runs."""
        return cls("random", gate=gate, seed=seed)

    @classmethod
    def forced(cls, depths: Sequence[int | None], gate: Gate = "learned") -> "RoutingRule":
        """Return the rule that sets a depth for each position; where it is `None`, the router decides."""
        return cls("forced", gate=gate, depths=tuple(depths))

    def capped(self, max_depth: int | None) -> "RoutingRule":
        """Return this rule with no token deeper than `max_depth`; `None` for no limit."""
        return replace(self, max_depth=max_depth)

    @classmethod
    def parse(
        cls,
        text: str,
        *,
        gate: Gate = "learned",
        threshold: float | Sequence[float] = DEFAULT_THRESHOLD,
        seed: int = 0,
    ) -> "RoutingRule":
        """Read a rule as the command line writes it.

        Raises:
            ValueError: the text has none of the known forms, or the file of forced depths is invalid.
        """
        name, _, argument = text.partition(":")
        if text == "top_k":
            return cls("top_k", gate=gate)
        if text == "causal":
            return cls("causal", gate=gate, thresholds=_thresholds(threshold))
        if text == "aux":
            return cls("aux", gate=gate, thresholds=_thresholds(threshold))
        if text == "random":
            return cls.random(seed, gate)
        if text == "random_by_position":
            return replace(cls.random(seed, gate), draws="position")
        if name == "fixed" and argument.isascii() and argument.isdigit():
            return cls.fixed(int(argument[:9]), gate)
        if name == "forced" and argument:
            return cls.forced(read_depths(Path(argument)), gate)
        raise ValueError(f"routing must be {RULE_FORMS}, got {text!r}")

    def check(self, config: "MoRConfig") -> None:
        """Check that a model can follow this rule.

        Raises:
            ValueError: the model cannot follow it; the message says why and what to use.
        """
        if not config.has_router and self.name != "causal":
            raise ValueError(
                f"routing {self.name} needs a router, and this model has none: every token takes all of its "
                f"{config.num_recursions} recursions; use causal"
            )
        if not config.has_router and self.max_depth is not None:
            raise ValueError(
                f"max_depth needs a router, and this model has none: every token takes all of its "
                f"{config.num_recursions} recursions, got {self.max_depth}; leave it out"
            )
        if self.name == "top_k" and not config.router.has_top_k:
            raise ValueError(
                f"routing top_k belongs to expert-choice; a {config.router.title} model takes each token's most "
                "probable depth in training and inference alike: use causal"
            )
        if self.name == "aux" and config.router_supervision != "aux_router":
            raise ValueError(
                "routing aux needs an auxiliary router, and this model was trained without one "
                f"(router_supervision={config.router_supervision}); use causal"
            )
        deepest = max(depth or 0 for depth in (self.ceiling, *self.depths))
        if deepest > config.num_recursions:
            name = "depth" if self.max_depth is None else "max_depth"
            raise ValueError(
                f"{name} must be at most the model's num_recursions={config.num_recursions}, got {deepest}; "
                "to run more recursions than trained, use with_recursions or --recursions"
            )
        if len(self.thresholds) not in (1, config.num_recursions):
            raise ValueError(
                f"give one threshold or num_recursions={config.num_recursions} of them, got {len(self.thresholds)}"
            )
        if self.capacities is not None and len(self.capacities) != config.num_recursions:
            raise ValueError(
                f"capacities must have num_recursions={config.num_recursions} entries, got {len(self.capacities)}"
            )

    def _check_cap(self) -> None:
        if self.max_depth is None:
            return
        if self.max_depth < 1:
            raise ValueError(
                f"max_depth must be at least 1, got {self.max_depth}; leave it out for no limit"
            )
        if self.name in ("fixed", "forced"):
            raise ValueError(
                f"max_depth must be left out with routing {self.name}, which gives the depths itself, "
                f"got {self.max_depth}; give smaller depths instead"
            )

    def fits(self, config: "MoRConfig") -> bool:
        """Whether a model can follow this rule."""
        try:
            self.check(config)
        except ValueError:
            return False
        return True

    @property
    def ceiling(self) -> int | None:
        """The deepest recursion that a token may enter, counted from 1; `None` if the rule sets no limit."""
        return self.depth or self.max_depth

    @property
    def sees_future(self) -> bool:
        """Whether a token's depth depends on later tokens, so that no cache can be reused."""
        return self.name == "top_k"

    def threshold_logit(self, recursion_idx: int) -> float:
        """Return the threshold of a recursion as a logit."""
        threshold = self.thresholds[recursion_idx if len(self.thresholds) > 1 else 0]
        return logit(threshold)

    def describe(self, config: "MoRConfig") -> dict[str, Any]:
        """Return what this rule does on a model, as plain data for a trace, with only the settings that apply."""
        if not config.has_router:
            return {"name": "none", "gate": "none"}
        name: str = "random" if self._is_random(config) else self.name
        if name == "causal" and config.router.chooses_once:
            name = "argmax"
        elif name == "causal" and config.router_supervision == "aux_router":
            name = "aux"
        described: dict[str, Any] = {"name": name, "gate": self.gate}
        if name in ("causal", "aux"):
            described["thresholds"] = list(self.thresholds)
        if name == "fixed":
            described["depth"] = self.depth
        if name == "random":
            described["seed"] = self.seed
            # Without this key, random routing of a trace or an evaluation depends on the position only.
            if self.draws == "text":
                described["draws"] = self.draws
        if name == "forced":
            described["depths"] = list(self.depths)
        if self.max_depth is not None:
            described["max_depth"] = self.max_depth
        return described

    def draws_by_text(self, config: "MoRConfig") -> bool:
        """Whether routing is random and depends on the text."""
        is_random = self.name == "random" or config.router_control != "none"
        return is_random and self.draws == "text"

    def _is_random(self, config: "MoRConfig") -> bool:
        """Whether the model is a control, whose causal rule is random routing."""
        return self.name == "causal" and config.router_control != "none"


def default_rule(config: "MoRConfig", *, training: bool) -> RoutingRule:
    """Return the rule that a model follows by default."""
    if training and config.router.has_top_k:
        return RoutingRule.top_k()
    return RoutingRule.causal()


def read_depths(path: Path) -> list[int | None]:
    """Read forced depths: a JSON list, one per position from the document start on, `null` where the router decides.

    Raises:
        ValueError: the file is missing, too large or holds something else.
    """
    rule = f"{path.name} must hold a JSON list of depths, one per position, null where the router decides"
    try:
        if path.stat().st_size > _MAX_FORCED_BYTES:
            raise ValueError(f"{rule}, of at most {_MAX_FORCED_BYTES} bytes")
        listed = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{rule}, got no JSON: {error}") from error
    if not isinstance(listed, list) or not listed:
        raise ValueError(f"{rule}, got {type(listed).__name__}")
    for position, depth in enumerate(listed):
        if depth is not None and type(depth) is not int:
            raise ValueError(f"{rule}, got {depth!r} at position {position}")
    return listed


def _thresholds(given: float | Sequence[float]) -> tuple[float, ...]:
    return (float(given),) if isinstance(given, (int, float)) else tuple(given)
