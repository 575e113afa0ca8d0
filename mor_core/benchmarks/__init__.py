"""Speed and memory beside named peers, one file a benchmark, with a function `run(bench)`.

Sides are measured in turn in one process; a result says device, dtype, repeats and spread.
Not here: counted FLOPs and bytes (model/accounting.py).
"""
