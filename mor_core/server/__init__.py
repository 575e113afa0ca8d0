"""Runs that several viewers ask for: one worker a model owns its engine, its queue, the jobs and their events.

A job is a text that is continued on the engine, or any other work of the same model, such as reading a text.
Not here: words for viewers (`app`), the batch itself (serving), what a run is made of (generation).
"""
