"""The record of a run as plain data: fields, file, checks, events, windows, alignment, token classes, presets.

Imports no torch, so that the app draws a recorded run at once.
Not here: recording a run (generation) and drawing it (app).
"""
