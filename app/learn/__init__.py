"""The lessons: their steps, facts, scores, exhibits and charts.

Every number comes from a recorded run or the evaluation.
Not here: recording the runs (mor_core/generation/lesson_runs.py).
"""
