"""The record of a run as plain data: its fields, its file, its checks, its events, windows, alignment, token classes, presets.

Imports no torch, so that a recorded run draws at once.
Not here: who records a run (generation) and who draws it (app).
"""
