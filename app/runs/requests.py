"""Viewers' requests as frozen plain data. Reads no widget and starts nothing."""

from dataclasses import dataclass

from mor_core.checkpoints.checkpoint import CheckpointInfo
from mor_core.model.routing_rules import RoutingRule


@dataclass(frozen=True)
class GenerationRequest:
    """The request of one press of Run.

    Attributes:
        checkpoint: folder and weight hash of the model.
        prompt: the prompt as typed.
        max_new_tokens: the maximum number of generated tokens.
        temperature: sampling temperature; 0 is greedy.
        top_k: number of most probable candidates to sample from; 0 means all.
        seed: seed of the sampling.
        routing: the routing rule.
        routing_problem: message on an invalid routing input; empty if it is valid.
    """

    checkpoint: CheckpointInfo
    prompt: str
    max_new_tokens: int
    temperature: float
    top_k: int
    seed: int
    routing: RoutingRule
    routing_problem: str = ""


@dataclass(frozen=True)
class AnalysisRequest:
    """The request of one press of Analyse.

    Attributes:
        checkpoint: folder and weight hash of the model.
        text: the text as typed.
        routing: the routing rule.
        kv_strategy: a KV strategy other than the trained one; empty for the trained one.
        routing_problem: message on an invalid routing input; empty if it is valid.
    """

    checkpoint: CheckpointInfo
    text: str
    routing: RoutingRule
    kv_strategy: str = ""
    routing_problem: str = ""
