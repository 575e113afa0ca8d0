"""Waiting for other threads, long enough for a busy machine; a timeout fails the test instead of hanging."""

import time
from collections.abc import Callable

PATIENCE_S = 120.0


def wait_for(condition: Callable[[], bool]) -> None:
    """Poll until the condition holds; fail after `PATIENCE_S`."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, f"the condition did not come true in {PATIENCE_S:.0f} s"
        time.sleep(0.005)
