"""One page, or one part of a page, per file.

Reads widgets, asks for runs, tables and charts, and lays them out.
Not here: computing or drawing.
"""
