"""Text in, traced tokens out: generation, analysis of a text, early exits, recorded galleries.

Turns results of model calls into trace records.
Not here: batching (serving), the format of records (traces), statistics over many texts (evaluation).
"""
