"""Pure: tables in, figures out.

One file a subject; titles state the finding.
Not here: reading files (tables) and layout (views).
"""
