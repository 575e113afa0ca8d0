"""What a viewer asks for, as frozen plain data. Reads no widget and starts nothing."""

from dataclasses import dataclass

from mor_core.checkpoints.checkpoint import CheckpointInfo
from mor_core.model.routing_rules import RoutingRule


@dataclass(frozen=True)
class GenerationRequest:
    """What one press of Run asks for.

    Attributes:
        checkpoint: folder and weight hash of the model.
        prompt: as typed.
        max_new_tokens: the most that is generated.
        temperature: 0 is greedy.
        top_k: the most probable candidates that are drawn from; 0 is all.
        seed: seed of the sampling.
        routing: the routing rule.
        routing_problem: what is wrong with the rule as it was typed, in words; empty if it can be run.
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
    """What one press of Analyse asks for.

    Attributes:
        checkpoint: folder and weight hash of the model.
        text: as typed.
        routing: the routing rule.
        kv_strategy: another than the model was trained with; empty for its own.
        routing_problem: what is wrong with the rule as it was typed, in words; empty if it can be run.
    """

    checkpoint: CheckpointInfo
    text: str
    routing: RoutingRule
    kv_strategy: str = ""
    routing_problem: str = ""
