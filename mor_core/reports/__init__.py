"""Model cards, and the family file that lays all evaluated checkpoints side by side.

Every number comes from the files beside a checkpoint.
Not here: measuring anything (evaluation, benchmarks).
"""
