"""Theme, palettes of depth, formats of FLOPs and bytes.

One place for each colour.
Not here: words (text).
"""
