"""Drawings: the same by the same seed, and what their captions say is to be seen on them."""

import pytest
import torch

from vl.data.scenes import COLOURS, GROUNDS, KINDS, draw

SEEDS = range(200)
NOISE = 0.04  # deviation of the noise that draw adds


@pytest.fixture(scope="module")
def scenes():
    return [draw(seed, side=32) for seed in SEEDS]


def covered(scene):
    """Where a pixel is nearer to the shape's colour than to the ground's, ``(H, W)``."""
    paint, floor = (
        (scene.pixels - torch.tensor(colour).view(3, 1, 1)).square().sum(0)
        for colour in (COLOURS[scene.colour], GROUNDS[scene.ground])
    )
    return paint < floor


def test_a_seed_says_everything():
    one, again, other = draw(3), draw(3), draw(4)
    assert torch.equal(one.pixels, again.pixels)
    assert one[1:] == again[1:]
    assert not torch.equal(one.pixels, other.pixels)


def test_the_seed_alone_counts():
    before = torch.get_rng_state()
    draw(3)
    assert torch.equal(before, torch.get_rng_state())


def test_pixels_are_a_picture_from_0_to_1(scenes):
    assert draw(0).pixels.shape == (3, 64, 64)
    for scene in scenes:
        assert scene.pixels.shape == (3, 32, 32)
        assert scene.pixels.dtype == torch.float32
        assert scene.pixels.min() >= 0 and scene.pixels.max() <= 1


def test_everything_that_there_is_comes_up(scenes):
    assert {scene.kind for scene in scenes} == set(KINDS)
    assert {scene.colour for scene in scenes} == set(COLOURS)
    assert {scene.ground for scene in scenes} == set(GROUNDS)
    sizes = [" big " in " ".join(scene.captions) for scene in scenes]
    assert any(sizes) and not all(sizes)


def test_five_captions_say_what_the_fields_say_and_nothing_else(scenes):
    for scene in scenes:
        assert len(set(scene.captions)) == 5
        for caption in scene.captions:
            said = set(caption.split())
            assert said & set(KINDS) == {scene.kind}
            assert said & set(COLOURS) <= {scene.colour}
            assert said & set(GROUNDS) <= {scene.ground}
        assert {scene.colour, scene.ground} < set(" ".join(scene.captions).split())
        assert len({"big", "small"} & set(" ".join(scene.captions).split())) == 1


def test_the_shape_is_in_the_middle_and_the_ground_around_it(scenes):
    for scene in scenes:
        inside = covered(scene)
        corners = scene.pixels[:, [0, 0, 1, -1], [0, -1, 1, -1]].mean(1)
        assert corners.tolist() == pytest.approx(GROUNDS[scene.ground], abs=4 * NOISE)
        rows, columns = inside.nonzero(as_tuple=True)
        assert 0.3 < (rows.float().mean() + 0.5).item() / 32 < 0.7
        assert 0.3 < (columns.float().mean() + 0.5).item() / 32 < 0.7
        middle = scene.pixels[:, inside].median(1).values  # most of it has no soft edge
        assert middle.tolist() == pytest.approx(COLOURS[scene.colour], abs=3 * NOISE)


def test_big_covers_more_than_small_of_the_same_kind(scenes):
    for kind in KINDS:
        areas = {"big": [], "small": []}
        for scene in scenes:
            if scene.kind == kind:
                size = "big" if f"a big {kind}" in scene.captions else "small"
                areas[size].append(covered(scene).sum().item())
        assert min(areas["big"]) > max(areas["small"])


def test_a_ring_has_a_hole_and_a_ball_has_none(scenes):
    for scene in scenes:
        inside = covered(scene)
        rows, columns = (part.float().mean().round().long() for part in inside.nonzero().T)
        if scene.kind != "triangle":
            assert inside[rows, columns] == (scene.kind != "ring")
