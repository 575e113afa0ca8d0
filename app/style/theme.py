"""Colours, visible signs for whitespace, and number formats, the same on every page.

Colours are safe for colour-blind readers, and whoever draws a depth also writes its digit. Imports no Streamlit.
"""

from app.style.palettes import channels
from app.style.palettes import depth_colours as depth_colours

# Below and above the threshold of a router; the same pair as in the token strip.
SCORE_LOW, SCORE_MIDDLE, SCORE_HIGH = "#2b6cb0", "#d5d8dd", "#dd7611"
UNROUTED = "#7b8494"  # parts without routing, such as prelude and coda
NO_DEPTH = "#8a8f99"  # a token that took no recursion (first capacity below 1)
LINE = "#8d95a5"  # readable on a light and on a dark page
SERIES = (  # curves that do not stand for depths
    "#2f7fb8",
    "#d9731a",
    "#3aa66f",
    "#a05fb4",
    "#c0504d",
    "#8c6d31",
    "#17a2b8",
    "#e377a2",
)
_VISIBLE = {" ": "␣", "\n": "⏎", "\r": "␍", "\t": "⇥", "\u00a0": "⍽"}
_REPLACEMENT = "\ufffd"


def text_on(colour: str) -> str:
    """Return black or white, whichever contrasts more with a colour (WCAG relative luminance)."""
    red, green, blue = (_linear(channel / 255) for channel in channels(colour))
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return "#111111" if (luminance + 0.05) / 0.055 > 1.05 / (luminance + 0.05) else "#ffffff"


def visible_text(text: str, token_bytes: str) -> str:
    """Return a token's text with visible signs for whitespace and control characters, and partial characters as bytes.

    Args:
        text: the token decoded alone.
        token_bytes: its bytes as hexadecimal.
    """
    if _REPLACEMENT in text:
        pairs = (token_bytes[at : at + 2] for at in range(0, len(token_bytes), 2))
        return "".join(f"<0x{pair.upper()}>" for pair in pairs)
    signs = (
        _VISIBLE.get(character, f"<0x{ord(character):02X}>" if character < " " else character)
        for character in text
    )
    return "".join(signs) or "∅"


def format_flops(flops: float) -> str:
    """Format a count of FLOPs with a decimal prefix."""
    return _with_unit(flops, ("FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP", "EFLOP"), 1000)


def format_bytes(count: float) -> str:
    """Format a count of bytes with a binary prefix."""
    return _with_unit(count, ("B", "KiB", "MiB", "GiB", "TiB"), 1024)


def _with_unit(value: float, units: tuple[str, ...], base: int) -> str:
    index = 0
    while value >= base and index < len(units) - 1:
        value, index = value / base, index + 1
    digits = (
        0 if value >= 100 or (index == 0 and float(value).is_integer()) else 1 if value >= 10 else 2
    )
    return f"{value:,.{digits}f} {units[index]}"


def _linear(channel: float) -> float:
    return channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4
