"""Synthetic data: texts whose properties are known by construction, with their generators and solvers.

`puzzles.py` defines the puzzles; `puzzle_files.py` writes them as a corpus with its tokenizer.
Not here: reading a corpus for training (training), evaluating a checkpoint on puzzles (evaluation).
"""
