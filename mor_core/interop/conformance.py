"""Compares our models with test cases computed by the official code: logits, depths and losses of one batch.

A case is an official checkpoint folder with expected.safetensors (`input_ids`, `logits` in evaluation mode) and
expected.json (`depth` of each token, `train_mode`: losses of one pass with labels = inputs). Tokens are routed as in
training.

Shapes: B batch, T positions, V vocabulary.
"""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from mor_core.checkpoints.checkpoint_files import read_json
from mor_core.interop.official import load_official
from mor_core.model.config import MoRConfig
from mor_core.model.model import MoRForCausalLM
from mor_core.model.routing_rules import RoutingRule

LOGIT_TOLERANCE = 1e-5
LOSS_TOLERANCE = 1e-4
_EXPECTED = "expected.safetensors"
_TERMS = {"sampling_loss": "aux", "balancing_loss": "balancing", "router_z_loss": "z"}
"""Our names of the routers' losses, by their official names; both are before their coefficients."""


@dataclass(frozen=True)
class CaseResult:
    """The differences between our outputs and one case; `None` for quantities that were not compared.

    Attributes:
        folder: of the case.
        max_logit_difference: largest absolute difference, over the gathered and the masked path.
        depth_mismatches: number of tokens whose depth differs.
        max_loss_difference: largest absolute difference over all losses.
        error: why the case could not be compared.
    """

    folder: str
    max_logit_difference: float | None = None
    depth_mismatches: int | None = None
    max_loss_difference: float | None = None
    error: str | None = None

    @property
    def passed(self) -> bool:
        """Whether logits, depths and losses all match within the tolerances."""
        return (
            self.error is None
            and self.max_logit_difference is not None
            and self.max_logit_difference <= LOGIT_TOLERANCE
            and not self.depth_mismatches
            and (self.max_loss_difference or 0.0) <= LOSS_TOLERANCE
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the result as plain data."""
        return {**asdict(self), "passed": self.passed}


def find_cases(folder: Path) -> list[Path]:
    """Return the cases in a folder, or the folder itself if it is a case or has none (`check_case` reports that)."""
    if (folder / _EXPECTED).is_file() or (folder / "config.json").is_file():
        return [folder]
    inside = sorted(folder.iterdir()) if folder.is_dir() else []
    return [case for case in inside if (case / _EXPECTED).is_file()] or [folder]


def check_case(folder: Path) -> CaseResult:
    """Compare one case on the gathered and the masked path; an error is returned in the result, not raised."""
    try:
        if not folder.is_dir():
            raise ValueError(f"{folder} is not a folder")
        case = _read_case(folder)
        model = load_official(folder)
        if model.config.router_control != "none":
            raise ValueError(
                "mor.rand_router must be false, got true: random routing differs between runs and cannot be compared"
            )
        # The cases were computed with unfused attention. A fused kernel sums in another order, and saturated gates can
        # amplify that difference beyond the tolerance.
        with sdpa_kernel(SDPBackend.MATH):
            paths = [_compare(model, case, gathered=gathered) for gathered in (True, False)]
    except (ValueError, OSError) as error:
        return CaseResult(str(folder), error=str(error))
    logits, depths, losses = zip(*paths, strict=True)
    return CaseResult(str(folder), max(logits), _most(depths), _most(losses))


@dataclass(frozen=True)
class _Case:
    """The official outputs: input_ids (B, T), logits (B, T, V), depths (B, T) or `None`, losses by official name."""

    input_ids: Tensor
    logits: Tensor
    depths: Tensor | None
    losses: dict[str, float]


def _read_case(folder: Path) -> _Case:
    """Read the expected values.

    Raises:
        ValueError: the values are missing or damaged, or their shapes do not match.
    """
    expected = read_json(folder / "expected.json")
    if not (folder / _EXPECTED).is_file():
        raise ValueError(f"{folder.name} must hold {_EXPECTED} with input_ids and logits, got none")
    try:
        tensors = load_file(folder / _EXPECTED)
        ids, logits = tensors["input_ids"].long(), tensors["logits"].float()
        depths = expected.get("depth")
        depths = None if depths is None else torch.tensor(depths)
        given = expected.get("train_mode") or {}
        losses = {name: float(value) for name, value in given.items() if value is not None}
    except (SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{folder.name}: the expected values cannot be read: {error!r}") from error
    fits = logits.shape[:2] == ids.shape and (depths is None or depths.shape == ids.shape)
    if ids.dim() != 2 or logits.dim() != 3 or not fits:
        raise ValueError(
            f"{folder.name}: input_ids (B, T), logits (B, T, V) and depth (B, T) must match, got "
            f"{tuple(ids.shape)}, {tuple(logits.shape)} and {None if depths is None else tuple(depths.shape)}"
        )
    return _Case(ids, logits, depths, losses)


@torch.no_grad()
def _compare(
    model: MoRForCausalLM, case: _Case, *, gathered: bool
) -> tuple[float, int | None, float | None]:
    """Return the largest logit difference, the number of depth mismatches and the largest loss difference."""
    config = model.config
    if case.logits.shape[2] != config.vocab_size or not bool(
        ((case.input_ids >= 0) & (case.input_ids < config.vocab_size)).all()
    ):
        raise ValueError(
            f"input_ids and logits must match vocab_size={config.vocab_size}, got logits of {case.logits.shape[2]}"
        )
    rule = RoutingRule.causal()
    if config.router.has_top_k:
        rule = RoutingRule.top_k()
    out = model.eval()(case.input_ids, routing=rule, gathered=gathered, use_cache=False)
    difference = (out.logits - case.logits).abs().max().item()
    mismatches = None
    if case.depths is not None:
        mismatches = int((out.recursion_trace.depth() != case.depths).sum())
    losses = None
    if case.losses:
        trained = model.train()(case.input_ids, labels=case.input_ids, gathered=gathered)
        losses = max(_loss_differences(config, case, trained.loss_terms), default=None)
    if not math.isfinite(difference) or not math.isfinite(losses or 0.0):
        raise ValueError("logits and losses must be finite, here and in the case")
    return difference, mismatches, losses


def _loss_differences(config: MoRConfig, case: _Case, ours: dict[str, Tensor]) -> list[float]:
    """Return the differences of the case's losses, each before its coefficient."""
    length = case.input_ids.shape[1]
    weights = {
        "aux": config.router_aux_loss_coef,
        "balancing": config.router_balancing_loss_coef,
        "z": config.router_z_loss_coef,
    }
    if config.router_supervision == "aux_router":
        weights["aux"] = 1.0
    differences = []
    for name, expected in case.losses.items():
        if name == "loss":
            # Hugging Face divides a row's sum of T - 1 losses by T if its caller counts all tokens, else by T - 1.
            means = (ours["lm"].item(), ours["lm"].item() * (length - 1) / length)
            differences.append(min(abs(mean - expected) for mean in means))
        elif name in _TERMS:
            term = _TERMS[name]
            # The official code reports 0 for a disabled loss; ours is computed regardless.
            if expected or (term in ours and weights[term]):
                differences.append(
                    abs(ours[term].item() - expected) if term in ours else abs(expected)
                )
    return differences


def _most(values: tuple[Any, ...]) -> Any:
    return None if None in values else max(values)
