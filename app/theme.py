"""Colours of depth: one scale everywhere, safe for colour-blind readers, fixed by the model and not by the run."""

# viridis, cut where neighbouring depths stay apart under simulated colour blindness
_VIRIDIS = ("#440154", "#31688e", "#35b779", "#fde725")
_BY_RECURSIONS = {
    1: ("#22908c",),
    2: ("#440154", "#35b779"),
    3: ("#440154", "#22908c", "#fde725"),
    4: _VIRIDIS,
}


def depth_colours(num_recursions: int) -> list[str]:
    """Return one colour for each depth 1, 2, ... as #rrggbb."""
    known = _BY_RECURSIONS.get(num_recursions)
    if known:
        return list(known)
    return [_on_viridis(index / (num_recursions - 1)) for index in range(num_recursions)]


def _on_viridis(share: float) -> str:
    """Interpolate between the four anchors; share 0 is the darkest."""
    place = share * (len(_VIRIDIS) - 1)
    left = min(int(place), len(_VIRIDIS) - 2)
    pairs = zip(_channels(_VIRIDIS[left]), _channels(_VIRIDIS[left + 1]), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * (place - left)):02x}" for a, b in pairs)


def _channels(colour: str) -> list[int]:
    return [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
