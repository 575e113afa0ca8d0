"""Made data: texts whose properties are known by construction, with what made them and what solves them.

`puzzles.py` knows puzzles alone; `puzzle_files.py` writes them as a corpus with its tokenizer.
Not here: reading a corpus for training (training), scores of a checkpoint on it (evaluation).
"""
