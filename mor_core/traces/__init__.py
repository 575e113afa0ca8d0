"""The record of a run as plain data: fields, file, checks, events, windows, alignment, token classes, presets.

Imports no torch, so that a recorded run draws at once.
Not here: who records a run (generation) and who draws it (app).
"""
