"""Jobs of several concurrent viewers: one worker per model owns its engine, its queue, the jobs and their events.

A job generates text on the engine, or does other work with the same model, such as analysing a text.
Not here: texts for viewers (`app`), batching (serving), generation runs (generation).
"""
