"""Loss, small tasks, statistics of depth, intervals, paired comparisons, lm-evaluation-harness.

Every number is computed from a checkpoint and a text, and written as JSON.
Not here: speed (benchmarks), prose about the numbers (reports).
"""
