"""Results published in the paper, to compare with our own. They are single runs, without error bars.

Source: arXiv 2507.10524 v3, Table 3 (360M, 16.5e18 FLOPs and 20B tokens), Table 7 (1.7B), Figure 4a (throughput; except
for MoR-4 at the largest batch, which label belongs to which bar is inferred from their order and the batch ratios).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class PaperResult:
    """One row of a table.

    Attributes:
        model: the name in the paper.
        recursions: N, the number of recursions.
        parameters: without embeddings.
        forward_flops: training budget, counted as in the paper over forward passes.
        tokens: training tokens.
        nll: validation loss, nats per token; `None` if the table has none.
        accuracy: mean over six few-shot tasks, percent.
    """

    model: str
    recursions: int
    parameters: float
    forward_flops: float
    tokens: float
    nll: float | None
    accuracy: float


MAIN_TABLE = (
    PaperResult("Vanilla", 1, 315e6, 16.5e18, 20e9, 2.7824, 42.3),
    PaperResult("Recursive", 2, 167e6, 16.5e18, 20e9, 2.8079, 42.6),
    PaperResult("Recursive", 3, 118e6, 16.5e18, 20e9, 2.8466, 41.5),
    PaperResult("Recursive", 4, 98e6, 16.5e18, 19e9, 2.8781, 41.0),
    PaperResult("MoR, expert-choice, cache", 2, 167e6, 16.5e18, 27e9, 2.7511, 43.1),
    PaperResult("MoR, expert-choice, cache", 3, 118e6, 16.5e18, 30e9, 2.7925, 42.6),
    PaperResult("MoR, expert-choice, cache", 4, 98e6, 16.5e18, 30e9, 2.8204, 41.6),
    PaperResult("MoR, expert-choice, cache", 2, 167e6, 12.3e18, 20e9, 2.7749, 42.9),
    PaperResult("MoR, expert-choice, cache", 3, 118e6, 11.0e18, 20e9, 2.8246, 41.8),
    PaperResult("MoR, expert-choice, cache", 4, 98e6, 11.0e18, 20e9, 2.8519, 41.5),
    PaperResult("MoR, token-choice, cache", 3, 118e6, 16.5e18, 30e9, 2.9163, 40.0),
    PaperResult("MoR, expert-choice, sharing", 3, 118e6, 16.5e18, 31e9, 2.7983, 41.9),
    PaperResult("Vanilla, 1.7B", 1, 1.61e9, 68.5e18, 20e9, None, 48.9),
    PaperResult("MoR, expert-choice, cache, 1.7B", 2, 0.87e9, 68.5e18, 26e9, None, 48.4),
    PaperResult("MoR, expert-choice, cache, 1.7B", 3, 0.67e9, 68.5e18, 27e9, None, 46.7),
)

THROUGHPUT = {
    # recursions: tokens/s relative to the plain Transformer, at batch 32 and at the largest batch of equal memory
    2: (1.23, 1.60),
    3: (1.33, 1.95),
    4: (1.42, 2.06),
}
RANDOM_ROUTER_GAP = 2.9335 - 2.8667
"""Loss of a random router minus that of the paper's chosen router, in nats (Table 13; 360M, N = 3, 10B tokens)."""
