"""Waiting for what another thread does: as long as a loaded machine may need, and a failure instead of a hang."""

import time
from collections.abc import Callable

PATIENCE_S = 120.0


def wait_for(condition: Callable[[], bool]) -> None:
    """Look again until the condition holds."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, f"the condition did not come true in {PATIENCE_S:.0f} s"
        time.sleep(0.005)
