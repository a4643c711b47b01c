"""Surroundings of objects: distinct grounds, distractors as large as the object, small clutter."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from vl.data.world.background import add_clutter, add_distractors, ground_texture
from vl.data.world.palette import PAINTS, TEXTURE_TONE, tone_colors
from vl.data.world.scenes import COLORS, GROUNDS, Group, Placement, Scene, sample_scene

SIZE = 192
PALETTE = np.array([PAINTS[color] for color in COLORS]) * 255  # (8, 3)
BLANK = (255, 0, 255)  # a color that no paint, tone or jitter has


def drawn_pixels(draw, seed, *args, **options):
    """The pixels that a function draws on a blank canvas, ``(pixels, 3)``."""
    canvas = Image.new("RGB", (SIZE, SIZE), BLANK)
    draw(ImageDraw.Draw(canvas), np.random.default_rng(seed), SIZE, *args, **options)
    pixels = np.asarray(canvas).reshape(-1, 3).astype(float)
    return pixels[(pixels != BLANK).any(1)]


def test_distractors_never_have_an_objects_color():
    for index in range(40):
        scene = sample_scene("training", index)
        pixels = drawn_pixels(add_distractors, index, scene)
        difference = np.abs(pixels[:, None] - PALETTE).max(2)  # (pixels, 8)
        for group in scene.groups:
            assert (difference[:, COLORS.index(group.color)] < 8).mean() < 0.01


@pytest.mark.parametrize(("radius", "low", "high"), [(0.15, 0.05, 0.4), (0.27, 0.15, 0.85)])
def test_area_of_distractors(radius, low, high):
    placement = Placement(0.5, 0.5, radius, 0.0, False)
    scene = Scene("test", 0, 0, (Group("ball", "red", "plain", "big", (placement,)),), "sand")
    areas = [len(drawn_pixels(add_distractors, seed, scene)) / SIZE**2 for seed in range(40)]
    assert low < np.mean(areas) < high
    assert np.mean(areas) > 2 * radius**2  # together they are larger than the object


def test_clutter_is_small_and_of_every_color():
    occurs = np.zeros(8)
    for seed in range(60):
        pixels = drawn_pixels(add_clutter, seed, count=8, blobs=True)
        assert 0 < len(pixels) < 0.12 * SIZE**2
        occurs += (np.abs(pixels[:, None] - PALETTE).max(2) < 20).any(0)
    assert (occurs > 0).all()
    assert len(drawn_pixels(add_clutter, 0, count=20, blobs=False)) < 0.08 * SIZE**2


def mean_color(ground, seed):
    return np.asarray(ground_texture(ground, np.random.default_rng(seed), SIZE)).mean((0, 1))


@pytest.mark.parametrize("name", GROUNDS)
def test_grounds_differ_in_mean_color(name):
    means = {
        ground: np.mean([mean_color(ground, seed) for seed in range(100, 110)], 0)
        for ground in GROUNDS
    }
    correct = 0
    for seed in range(8):
        mean = mean_color(name, seed)
        distances = {ground: np.abs(mean - means[ground]).sum() for ground in GROUNDS}
        correct += min(distances, key=distances.__getitem__) == name
    assert correct >= 6  # the light varies, and a dark patch of sand may be as dark as grass


@pytest.mark.parametrize("ground", GROUNDS)
def test_grounds_vary(ground):
    first, second = (
        np.asarray(ground_texture(ground, np.random.default_rng(seed), 96)) for seed in (0, 1)
    )
    assert np.abs(first.astype(int) - second).mean() > 4
    assert first.std((0, 1)).min() > 3


@pytest.mark.parametrize("color", COLORS)
def test_tones_and_paints_are_distinct(color):
    palette = tone_colors(np.array(PAINTS[color])).astype(int)  # (5, 3)
    assert np.abs(palette[1] - PALETTE[COLORS.index(color)]).max() <= 1
    for tone in (2, 3, TEXTURE_TONE):
        assert np.abs(palette[tone] - palette[1]).max() > 60
    assert (np.abs(PALETTE - palette[1]).max(1) > 60).sum() == 7
