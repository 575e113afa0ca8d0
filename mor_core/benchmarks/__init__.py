"""Benchmarks of speed and memory against named peers: one module per benchmark, with a function `run(bench)`.

The sides alternate in one process; a result states device, dtype, repeats and spread.
Not here: formulas for FLOPs and bytes (model/accounting.py).
"""
