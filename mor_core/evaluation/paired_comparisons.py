"""Compares checkpoints by their evaluation.json: pairs on the same documents, and pairs that differ in the seed alone.

No model is run here: `checkpoint_evaluation.py` computed the numbers.
"""

import tomllib
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from mor_core.checkpoints.checkpoint import CheckpointError, CheckpointInfo
from mor_core.evaluation.bootstrap import difference_interval
from mor_core.evaluation.depth_statistics import rank_correlation
from mor_core.model.router_types import router_traits
from mor_core.training.recipe import Recipe, RecipeError, parse_recipe


def compare_members(checkpoints: Sequence[CheckpointInfo]) -> list[dict[str, Any]]:
    """Return for each pair of checkpoints the loss of the second minus that of the first, in nats per token.

    Each checkpoint uses its own routing rule. The interval is paired: the bootstrap resamples the same documents for
    both, so that the difficulty of a document cancels out. Pairs with different texts or tokenizations are left out.
    """
    found = []
    for first, second in combinations(checkpoints, 2):
        if any(_scored(first)[field] != _scored(second)[field] for field in _scored(first)):
            continue
        ours, theirs = (info.evaluation["results"][0] for info in (first, second))
        counts = first.evaluation["document_num_tokens"]
        interval = difference_interval(
            theirs["document_nll_nats"], ours["document_nll_nats"], counts
        )
        found.append(
            {
                "names": [first.name, second.name],
                "more_nats_per_token": theirs["nll_nats_per_token"] - ours["nll_nats_per_token"],
                "interval": interval,
            }
        )
    return found


def _scored(info: CheckpointInfo) -> dict[str, Any]:
    """Return the fields that must be equal in two evaluations to compare them document by document."""
    try:
        return {name: info.evaluation[name] for name in ("text_sha256", "document_num_tokens")}
    except KeyError as error:
        raise CheckpointError(
            f"the evaluation of {info.name} lacks {error}; write it again with: mor report --checkpoint {info.name}"
        ) from error


def compare_seeds(checkpoints: Sequence[CheckpointInfo]) -> list[dict[str, Any]]:
    """Compare each pair of checkpoints whose recipes differ in the seed alone.

    `token_types` is Spearman's rank correlation, between the two runs, of the mean depth of token types that are
    frequent in the held-out text. `classes` holds the mean depth of each token class, and which pairs of classes both
    runs put in the same order. `positions` is the same correlation over ranges of window positions. `next_surprisal`
    holds each run's own correlation of depth and surprisal.
    """
    recipes = [recipe_of(info) for info in checkpoints]
    found = []
    for (first, one), (second, two) in combinations(zip(checkpoints, recipes, strict=True), 2):
        if one is None or two is None or not _differ_in_the_seed_alone(one, two):
            continue
        losses = [info.evaluation["results"][0]["nll_nats_per_token"] for info in (first, second)]
        pair: dict[str, Any] = {
            "names": [first.name, second.name],
            "seeds": [one.run.seed, two.run.seed],
            "nll_nats_per_token": losses,
            "gap": abs(losses[0] - losses[1]),
        }
        if "depth_of_token_types" in first.evaluation and router_traits(first.config).has_router:
            pair |= _compare_depths(first.evaluation, second.evaluation)
        found.append(pair)
    return found


def recipe_of(info: CheckpointInfo) -> Recipe | None:
    """Return the recipe that a checkpoint was trained with; `None` for a converted checkpoint.

    Raises:
        CheckpointError: the recipe cannot be read.
    """
    path = info.path / "recipe.toml"
    if not path.is_file():
        return None
    try:
        return parse_recipe(tomllib.loads(path.read_text(encoding="utf-8")))
    except (RecipeError, tomllib.TOMLDecodeError) as error:
        raise CheckpointError(f"{info.name}: recipe.toml cannot be read: {error}") from error


def _differ_in_the_seed_alone(one: Recipe, two: Recipe) -> bool:
    """Whether two recipes differ only in the seed and the name; writing out a default is no difference."""
    if one.config().to_dict() != two.config().to_dict():
        return False
    changed = {name for name in one.changed_fields(two) if not name.startswith("model.")}
    return "run.seed" in changed and changed <= {"run.seed", "run.name"}


def _compare_depths(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    both = (first, second)
    types = [evaluation["depth_of_token_types"] for evaluation in both]
    classes = [_means(evaluation["depths"]["by_class"]) for evaluation in both]
    positions = [
        {str(group["first"]): group["mean_depth"] for group in evaluation["depths"]["by_position"]}
        for evaluation in both
    ]
    surprise = [evaluation["depths"]["by_next_surprisal"] for evaluation in both]
    common = [name for name in classes[0] if name in classes[1]]
    pairs = list(combinations(common, 2))
    reordered = [list(pair) for pair in pairs if not _in_the_same_order(classes, pair)]
    return {
        "token_types": _agreement(types),
        "classes": {
            **_agreement(classes),
            "mean_depths": {name: [means[name] for means in classes] for name in common},
            "pairs": len(pairs),
            "pairs_in_the_same_order": len(pairs) - len(reordered),
            "pairs_in_another_order": reordered,
        },
        "positions": _agreement(positions),
        "next_surprisal": {"rank_correlations": [each["rank_correlation"] for each in surprise]},
    }


def _means(groups: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    return {name: group["mean_depth"] for name, group in groups.items()}


def _agreement(depths: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Return how many keys both have in common, and the rank correlation of their depths."""
    common = sorted(set(depths[0]) & set(depths[1]))
    values = [[each[name] for name in common] for each in depths]
    return {"num_common": len(common), "rank_correlation": rank_correlation(*values)}


def _in_the_same_order(means: Sequence[Mapping[str, float]], pair: tuple[str, str]) -> bool:
    return all(mean[pair[0]] < mean[pair[1]] for mean in means) or all(
        mean[pair[0]] > mean[pair[1]] for mean in means
    )
