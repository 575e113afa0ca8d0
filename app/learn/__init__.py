"""The lessons: their steps, facts, scores, exhibits and charts.

Every number is read from a recorded run.
Not here: recording the runs (mor_core/generation/lesson_runs.py).
"""
