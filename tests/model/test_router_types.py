"""What each type of router says of itself holds for its class, and a trace carries it."""

import pytest
import torch

from mor_core import MoRConfig, RoutingRule
from mor_core.model.accounting import parameter_count
from mor_core.model.router_types import ROUTER_TYPES, RouterTraits, router_traits
from mor_core.model.routers import router_class
from tests.models import tiny_model

ROUTED = [kind for kind in ROUTER_TYPES.values() if kind.implementation]
each_type = pytest.mark.parametrize("kind", ROUTED, ids=[kind.name for kind in ROUTED])


def model_of(kind, **settings):
    return tiny_model(
        router_type=kind.name, router_activation=kind.activations[0], **settings
    ).eval()


@pytest.mark.parametrize(
    ("kind", "network"), [(kind, network) for kind in ROUTED for network in kind.networks]
)
def test_routers_are_as_many_and_as_wide_as_their_type_says(kind, network):
    model = model_of(kind, router_network=network)
    settings = vars(model.config)
    routers = model.model.routers
    assert {type(router) for router in routers} == {router_class(model.config)}
    assert len(routers) == kind.num_routers(settings)
    logits = routers[0](torch.randn(1, 5, model.config.hidden_size))
    assert logits.numel() == 5 * kind.num_logits(settings)
    weights = sum(weight.numel() for weight in routers[0].parameters())
    assert weights == kind.num_weights(settings)
    assert parameter_count(model.config) == sum(p.numel() for p in model.parameters())


@each_type
def test_what_a_type_can_do_decides_which_rules_its_models_follow(kind):
    config = model_of(kind).config
    assert RoutingRule.top_k().fits(config) == kind.has_top_k
    described = RoutingRule.causal().describe(config)
    assert ("thresholds" in described) == kind.has_threshold
    assert (described["name"] == "argmax") == kind.chooses_once


@each_type
def test_activations_controls_and_recursions_of_other_types_are_refused(kind):
    own = {"router_type": kind.name, "router_activation": kind.activations[0]}
    for activation in kind.activations:
        MoRConfig(**own | {"router_activation": activation})
    for control in kind.controls:
        MoRConfig(**own, router_control=control)
    with pytest.raises(Exception, match="router_activation") as error:
        MoRConfig(**own | {"router_activation": "softmax" if kind.has_threshold else "tanh"})
    assert f"for {kind.name}" in str(error.value.__cause__)


def test_a_model_without_a_router_and_an_unknown_type_can_nothing():
    none = router_traits({"router_type": "none", "num_recursions": 3})
    assert not none.has_router
    assert router_traits({}) == none
    unknown = router_traits({"router_type": "of tomorrow"})
    assert unknown == RouterTraits("of tomorrow", False, False, False, num_logits=1)


def test_a_router_of_all_depths_counts_its_logits_by_recursions():
    assert router_traits({"router_type": "token_choice", "num_recursions": 4}).num_logits == 4
    assert router_traits({"router_type": "expert_choice", "num_recursions": 4}).num_logits == 1
