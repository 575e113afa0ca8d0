"""Splits a text longer than the context into overlapping windows in which each token is scored once."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """The model reads positions `start` to `end` (half-open) and scores those from `first_new` on."""

    start: int
    end: int
    first_new: int


def split_windows(num_tokens: int, length: int) -> list[Window]:
    """Cover `num_tokens` positions with windows of at most `length` tokens, each half a window after the one before.

    Every token after the first window has at least half a window of context before it.
    """
    stride = max(1, length // 2)
    windows = [Window(0, min(num_tokens, length), 0)]
    while windows[-1].end < num_tokens:
        start = windows[-1].start + stride
        windows.append(Window(start, min(num_tokens, start + length), windows[-1].end))
    return windows
