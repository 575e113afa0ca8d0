"""Loss, small tasks, depth statistics, confidence intervals, paired comparisons, lm-evaluation-harness.

Every number is computed from a checkpoint and a text, and written as JSON.
Not here: speed (benchmarks), text about the numbers (reports).
"""
