"""Pure: tables in, figures out.

One file per subject; titles state the finding.
Not here: reading files (tables) and layout (views).
"""
