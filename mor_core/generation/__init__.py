"""Text in, traced tokens out: generation, analysis of a text, early exits, recorded galleries.

Here a call of the model becomes records of a trace.
Not here: the batch (serving), the record's form (traces), statistics over many texts (evaluation).
"""
