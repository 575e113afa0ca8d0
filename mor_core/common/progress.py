"""How a long task tells what it is at."""

from collections.abc import Callable

Report = Callable[[str], None]
"""Takes one line for the person who waits."""
