"""Model cards, and the family file that compares all evaluated checkpoints.

Every number comes from the files beside a checkpoint.
Not here: measuring anything (evaluation, benchmarks).
"""
