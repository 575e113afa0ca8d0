"""The colour scales of depth that a viewer can choose from.

They run from dark to light, so that their order survives greyscale and colour blindness. The model's number of
recursions, not the run, fixes the scale. Imports no Streamlit: `follow` sets the function that returns the choice.
"""

from collections.abc import Callable

# Anchors from dark to light. `_BY_RECURSIONS` has the colours that differ most for up to three levels.
_ANCHORS = {
    "viridis": ("#440154", "#31688e", "#35b779", "#fde725"),
    "cividis": ("#00224e", "#575d6d", "#a59c74", "#fee838"),
    "contrast": ("#001f5c", "#8f1d4f", "#ffa62b", "#ffffb3"),
}
_BY_RECURSIONS = {
    "viridis": {
        1: ("#22908c",),
        2: ("#440154", "#35b779"),
        3: ("#440154", "#22908c", "#fde725"),
    },
    "cividis": {1: ("#575d6d",), 2: ("#00224e", "#a59c74"), 3: ("#00224e", "#6e6e72", "#fee838")},
    "contrast": {1: ("#001f5c",), 2: ("#001f5c", "#ffffb3"), 3: ("#001f5c", "#ffa62b", "#ffffb3")},
}
DEFAULT = "viridis"
PALETTES = tuple(_ANCHORS)
NORMAL_TEXT = "normal"  # the default text size
MAX_LEVELS = 8  # the largest scale that is sent to the browser


class _Viewer:
    """Holds the function that returns the viewer's palette; `follow` replaces the default."""

    palette: Callable[[], str] = staticmethod(lambda: DEFAULT)


def follow(palette: Callable[[], str]) -> None:
    """Set the function that returns the viewer's palette."""
    _Viewer.palette = staticmethod(palette)


def depth_colours(num_recursions: int) -> list[str]:
    """Return one colour for each depth 1, 2, ... as #rrggbb, in the viewer's palette."""
    name = _Viewer.palette()
    known = _BY_RECURSIONS[name].get(num_recursions)
    if known:
        return list(known)
    return [_between(_ANCHORS[name], i / (num_recursions - 1)) for i in range(num_recursions)]


def channels(colour: str) -> list[int]:
    """Return red, green and blue of #rrggbb, 0 to 255."""
    return [int(colour[at : at + 2], 16) for at in (1, 3, 5)]


def _between(anchors: tuple[str, ...], share: float) -> str:
    """Interpolate between anchors; share 0 is the darkest."""
    position = share * (len(anchors) - 1)
    left = min(int(position), len(anchors) - 2)
    pairs = zip(channels(anchors[left]), channels(anchors[left + 1]), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * (position - left)):02x}" for a, b in pairs)
