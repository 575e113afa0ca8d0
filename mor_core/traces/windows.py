"""How text longer than the context is read: overlapping windows, each token scored once."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """Positions `start` to `end` (half-open) go through the model; those from `first_new` on are scored."""

    start: int
    end: int
    first_new: int


def split_windows(num_tokens: int, length: int) -> list[Window]:
    """Cover `num_tokens` positions with windows of `length`, each half a window further than the last.

    Every token but those of the first window is scored with at least half a window before it.
    """
    stride = max(1, length // 2)
    windows = [Window(0, min(num_tokens, length), 0)]
    while windows[-1].end < num_tokens:
        start = windows[-1].start + stride
        windows.append(Window(start, min(num_tokens, start + length), windows[-1].end))
    return windows
