"""What is around the things: grounds that differ, decoys as large as the thing, small clutter."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from vl.data.world.background import add_clutter, add_decoys, ground_of
from vl.data.world.palette import PAINTS, SECOND, palette_of
from vl.data.world.scenes import COLOURS, GROUNDS, Group, Place, Scene, scene

SIZE = 192
PALETTE = np.array([PAINTS[colour] for colour in COLOURS]) * 255  # (8, 3)
NOWHERE = (255, 0, 255)  # a colour that no paint, shade or jitter has


def blank():
    canvas = Image.new("RGB", (SIZE, SIZE), NOWHERE)
    return canvas, ImageDraw.Draw(canvas)


def drawn(canvas):
    """The pixels that were drawn on, ``(pixels, 3)``."""
    pixels = np.asarray(canvas).reshape(-1, 3).astype(float)
    return pixels[(pixels != NOWHERE).any(1)]


def test_decoys_never_have_a_things_colour():
    for number in range(40):
        truth = scene("training", number)
        canvas, brush = blank()
        add_decoys(brush, np.random.default_rng(number), SIZE, truth)
        apart = np.abs(drawn(canvas)[:, None] - PALETTE).max(2)  # (pixels, 8)
        for group in truth.groups:
            assert (apart[:, COLOURS.index(group.colour)] < 8).mean() < 0.01


def test_a_decoys_area_is_like_the_things():
    for radius, least, most in ((0.15, 0.05, 0.4), (0.27, 0.15, 0.85)):
        place = Place(0.5, 0.5, radius, 0.0, False)
        truth = Scene("test", 0, 0, (Group("ball", "red", "plain", "big", (place,)),), "sand")
        areas = []
        for number in range(40):
            canvas, brush = blank()
            add_decoys(brush, np.random.default_rng(number), SIZE, truth)
            areas.append(len(drawn(canvas)) / SIZE**2)
        assert least < np.mean(areas) < most
        assert np.mean(areas) > 2 * radius**2  # together they are more than the thing


def test_clutter_has_every_colour_and_is_small():
    seen = np.zeros(8)
    for number in range(60):
        canvas, brush = blank()
        add_clutter(brush, np.random.default_rng(number), SIZE, count=8, blobs=True)
        pixels = drawn(canvas)
        assert 0 < len(pixels) < 0.12 * SIZE**2
        seen += (np.abs(pixels[:, None] - PALETTE).max(2) < 20).any(0)
    assert (seen > 0).all()


def test_clutter_on_top_has_no_blobs():
    canvas, brush = blank()
    add_clutter(brush, np.random.default_rng(0), SIZE, count=20, blobs=False)
    assert len(drawn(canvas)) < 0.08 * SIZE**2


@pytest.mark.parametrize("name", GROUNDS)
def test_a_ground_is_mostly_nearer_to_itself_than_to_the_others(name):
    means = {
        ground: np.mean([mean_colour(ground, number) for number in range(100, 110)], 0)
        for ground in GROUNDS
    }
    right = 0
    for number in range(8):
        found = mean_colour(name, number)
        apart = {ground: np.abs(found - mean).sum() for ground, mean in means.items()}
        right += min(apart, key=apart.__getitem__) == name
    assert right >= 6  # the light varies, and a dark patch of sand may be as dark as grass


def mean_colour(ground, number):
    canvas = ground_of(ground, np.random.default_rng(number), SIZE)
    return np.asarray(canvas).reshape(-1, 3).mean(0)


def test_a_ground_varies_from_picture_to_picture_and_within_one():
    for ground in GROUNDS:
        one, other = (np.asarray(ground_of(ground, np.random.default_rng(n), 96)) for n in (0, 1))
        assert np.abs(one.astype(int) - other).mean() > 4
        assert one.std((0, 1)).min() > 3


@pytest.mark.parametrize("colour", COLOURS)
def test_shades_of_a_paint_are_seen_on_it_and_the_paint_is_itself(colour):
    palette = palette_of(np.array(PAINTS[colour])).astype(int)  # (5, 3)
    assert np.abs(palette[1] - PALETTE[COLOURS.index(colour)]).max() <= 1
    for shade in (2, 3, SECOND):
        assert np.abs(palette[shade] - palette[1]).max() > 60
    assert (np.abs(PALETTE - palette[1]).max(1) > 60).sum() == 7  # other paints are far
