"""The type of a progress callback."""

from collections.abc import Callable

Report = Callable[[str], None]
"""Takes one line of text that says what a long task is doing."""
