"""Compares checkpoints by their papers: two on the same documents, and two that differ in the seed alone.

Knows nothing of models; what is compared was computed by `checkpoint_evaluation.py`.
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
    """Return how many nats a token the second of every two checkpoints loses more, each by its own rule.

    Paired: the same documents are drawn for both, so that what makes a document hard for either cancels out. Two that
    read other texts, or cut the text into other tokens, are not compared.
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
    """Return what two evaluations must share to be compared document by document."""
    try:
        return {name: info.evaluation[name] for name in ("text_sha256", "document_num_tokens")}
    except KeyError as error:
        raise CheckpointError(
            f"the evaluation of {info.name} lacks {error}; write it again with: mor report --checkpoint {info.name}"
        ) from error


def compare_seeds(checkpoints: Sequence[CheckpointInfo]) -> list[dict[str, Any]]:
    """Compare every two checkpoints whose recipes differ in nothing but the seed.

    `token_types` says whether the same words go deep in both: Spearman's rank correlation of the mean depth of token
    types that are frequent in the held-out text. `classes` are mean depths, and whether both runs order each pair of
    classes alike. `positions` and `next_surprisal` are the same correlation over places and over groups of surprise.
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
    """Return what a checkpoint was trained by; `None` for one that was converted.

    Raises:
        CheckpointError: its recipe cannot be read.
    """
    path = info.path / "recipe.toml"
    if not path.is_file():
        return None
    try:
        return parse_recipe(tomllib.loads(path.read_text(encoding="utf-8")))
    except (RecipeError, tomllib.TOMLDecodeError) as error:
        raise CheckpointError(f"{info.name}: recipe.toml cannot be read: {error}") from error


def _differ_in_the_seed_alone(one: Recipe, two: Recipe) -> bool:
    """Compare what the recipes mean: a default that one of them spells out makes no difference."""
    if one.config().to_dict() != two.config().to_dict():
        return False
    changed = {name for name in one.changed_fields(two) if not name.startswith("model.")}
    return "run.seed" in changed and changed <= {"run.seed", "run.name"}


def _compare_depths(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    both = (first, second)
    types = [evaluation["depth_of_token_types"] for evaluation in both]
    classes = [_means(evaluation["depths"]["by_class"]) for evaluation in both]
    places = [
        {str(group["first"]): group["mean_depth"] for group in evaluation["depths"]["by_position"]}
        for evaluation in both
    ]
    surprise = [evaluation["depths"]["by_next_surprisal"] for evaluation in both]
    common = [name for name in classes[0] if name in classes[1]]
    pairs = list(combinations(common, 2))
    apart = [list(pair) for pair in pairs if not _in_the_same_order(classes, pair)]
    return {
        "token_types": _agreement(types),
        "classes": {
            **_agreement(classes),
            "mean_depths": {name: [means[name] for means in classes] for name in common},
            "pairs": len(pairs),
            "pairs_in_the_same_order": len(pairs) - len(apart),
            "pairs_in_another_order": apart,
        },
        "positions": _agreement(places),
        "next_surprisal": {"rank_correlations": [each["rank_correlation"] for each in surprise]},
    }


def _means(groups: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    return {name: group["mean_depth"] for name, group in groups.items()}


def _agreement(depths: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Return how many names both have, and the rank correlation of their depths."""
    common = sorted(set(depths[0]) & set(depths[1]))
    values = [[each[name] for name in common] for each in depths]
    return {"num_common": len(common), "rank_correlation": rank_correlation(*values)}


def _in_the_same_order(means: Sequence[Mapping[str, float]], pair: tuple[str, str]) -> bool:
    return all(mean[pair[0]] < mean[pair[1]] for mean in means) or all(
        mean[pair[0]] > mean[pair[1]] for mean in means
    )
