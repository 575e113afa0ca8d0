"""The scales of depth keep their order without colour, stay apart for colour-blind eyes, and carry readable digits."""

import itertools

import pytest

from app.style import palettes
from app.style.palettes import PALETTES, channels, depth_colours, follow
from app.style.theme import text_on

# Machado, Oliveira and Fernandes (2009), severity 1, on linear light.
SIMULATED = {
    "deutan": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.01182, 0.04294, 0.968881)),
    "protan": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
}  # fmt: skip
LEAST_LIGHTNESS_STEP = 8  # L* between neighbours, up to five levels
LEAST_DISTANCE = 17  # CIE76
LEAST_CONTRAST = {"viridis": 4.0, "cividis": 4.0, "contrast": 6.0}


@pytest.fixture(autouse=True)
def back_to_the_default():
    yield
    follow(lambda: palettes.DEFAULT)


def linear(colour):
    scaled = [channel / 255 for channel in channels(colour)]
    return [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in scaled]


def luminance(light):
    return 0.2126 * light[0] + 0.7152 * light[1] + 0.0722 * light[2]


def lab(light):
    matrix = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
    white = (0.9505, 1.0, 1.089)
    x, y, z = (
        _f(max(sum(m * c for m, c in zip(row, light, strict=True)), 0) / w)
        for row, w in zip(matrix, white, strict=True)
    )
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def _f(t):
    return t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116


def seen_by(kind, light):
    if kind == "all":
        return light
    return [sum(m * c for m, c in zip(row, light, strict=True)) for row in SIMULATED[kind]]


def contrast(one, other):
    bright, dark = sorted((luminance(linear(one)), luminance(linear(other))), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("levels", [2, 3, 4])
@pytest.mark.parametrize("name", PALETTES)
def test_levels_differ_in_light_and_for_colour_blind_eyes(name, levels):
    follow(lambda: name)
    colours = [linear(colour) for colour in depth_colours(levels)]
    lightness = [lab(colour)[0] for colour in colours]
    assert min(b - a for a, b in itertools.pairwise(lightness)) > LEAST_LIGHTNESS_STEP
    for kind in ("all", *SIMULATED):
        seen = [lab(seen_by(kind, colour)) for colour in colours]
        for one, other in itertools.combinations(seen, 2):
            distance = sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) ** 0.5
            assert distance > LEAST_DISTANCE, kind


@pytest.mark.parametrize("levels", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("name", PALETTES)
def test_text_on_every_level_can_be_read(name, levels):
    follow(lambda: name)
    for colour in depth_colours(levels):
        assert contrast(colour, text_on(colour)) >= LEAST_CONTRAST[name], colour
