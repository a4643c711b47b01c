"""Training distortions: the stated distributions, hand arithmetic, and torchvision's own."""

import math
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations

import pytest
import torch
import torch.nn.functional as F
from torchvision.transforms.v2 import functional

from vl.data.images.augmentation import (
    CHANGES,
    Augmentation,
    Box,
    CenterCrop,
    Distortion,
    distorted,
)
from vl.data.images.crops import crops

DRAWS = range(600)
WHOLE = {"area": (1.0, 1.0), "aspect": (1.0, 1.0)}
NOTHING = {**WHOLE, "flip": 0.0, "colour": 0.0}


def noise(height, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (3, height, width), generator=generator, dtype=torch.uint8)


def coordinates(height, width):
    """A picture whose pixels say where they are: row in red, column in green."""
    rows = torch.arange(height)[:, None].expand(height, width)
    columns = torch.arange(width).expand(height, width)
    return torch.stack([rows, columns, torch.zeros(height, width)]).to(torch.uint8)


def boxes(height, width, **choices):
    augmentation = Augmentation(8, **choices)
    return [augmentation.distortion(height, width, draw).box for draw in DRAWS]


def is_uniform(values, least, greatest):
    """Whether values fill an interval evenly: no tenth has less than half or twice its share."""
    shares = [(value - least) / (greatest - least) for value in values]
    assert min(shares) >= -1e-2 and max(shares) <= 1 + 1e-2
    tenths = Counter(min(max(int(10 * share), 0), 9) for share in shares)
    return all(0.5 < 10 * tenths[tenth] / len(values) < 2 for tenth in range(10))


def test_areas_are_even_and_aspects_even_in_their_logarithm():
    found = boxes(3000, 3000, area=(0.08, 0.5))
    assert is_uniform([box.height * box.width / 3000**2 for box in found], 0.08, 0.5)
    aspects = [math.log(box.width / box.height) for box in found]
    assert is_uniform(aspects, math.log(3 / 4), math.log(4 / 3))


@pytest.mark.parametrize(("height", "width"), [(3000, 3000), (3000, 3900), (3900, 3000)])
def test_areas_are_even_up_to_the_whole_where_the_aspect_allows_it(height, width):
    found = boxes(height, width)
    assert is_uniform([box.height * box.width / (height * width) for box in found], 0.08, 1)
    aspects = [box.width / box.height for box in found]
    assert min(aspects) >= 3 / 4 - 1e-2 and max(aspects) <= 4 / 3 + 1e-2


def test_places_are_even_and_do_not_hang_together():
    found = boxes(3000, 3000, area=(0.1, 0.3))
    tops = [box.top / (3000 - box.height) for box in found]
    lefts = [box.left / (3000 - box.width) for box in found]
    assert is_uniform(tops, 0, 1) and is_uniform(lefts, 0, 1)
    sizes = [float(box.height * box.width) for box in found]
    aspects = [box.width / box.height for box in found]
    for one, other in combinations([tops, lefts, sizes, aspects], 2):
        assert abs(torch.corrcoef(torch.tensor([one, other]))[0, 1]) < 0.15


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 1), (1, 900), (900, 1), (3, 5), (375, 500)])
def test_boxes_lie_inside_the_picture(shape):
    height, width = shape
    for top, left, box_height, box_width in boxes(*shape):
        assert top >= 0 and left >= 0 and box_height >= 1 and box_width >= 1
        assert top + box_height <= height and left + box_width <= width


def test_every_place_of_a_small_box_is_reached():
    found = boxes(6, 6, area=(0.25, 0.25), aspect=(1.0, 1.0))
    places = Counter((box.top, box.left) for box in found)
    assert set(places) == {(top, left) for top in range(4) for left in range(4)}
    assert min(places.values()) > 600 / 16 / 2


def test_a_picture_too_long_for_any_area_gives_the_greatest_part_that_fits():
    for height, width in ((1000, 40_000), (40_000, 1000)):  # at most 1/30 of it is 4 : 3
        for box in boxes(height, width):
            long, short = max(box.height, box.width), min(box.height, box.width)
            assert short == 1000 and long == pytest.approx(1000 * 4 / 3, abs=1)


def test_a_long_picture_has_areas_up_to_the_greatest_that_fits():
    areas = [box.height * box.width / (2000 * 6000) for box in boxes(2000, 6000)]
    assert is_uniform(areas, 0.08, 4 / 9)  # 2000 x 2667 of 2000 x 6000


def test_a_box_of_the_whole_area_and_aspect_one_is_the_greatest_square():
    assert {box[2:] for box in boxes(30, 50, **WHOLE)} == {(30, 30)}
    assert boxes(40, 40, **WHOLE)[0] == Box(0, 0, 40, 40)


def test_the_right_size_comes_back_bit_for_bit():
    pixels = noise(16, 16)
    for draw in range(20):
        assert torch.equal(Augmentation(16, **NOTHING)(pixels, draw), pixels)


def test_a_mirror_image_is_the_same_backwards_and_comes_half_of_the_time():
    pixels = noise(16, 16)
    flipped = 0
    for draw in DRAWS:
        seen = Augmentation(16, **{**NOTHING, "flip": 0.5})(pixels, draw)
        if torch.equal(seen, pixels[:, :, torch.arange(15, -1, -1)]):
            flipped += 1
        else:
            assert torch.equal(seen, pixels)
    assert 250 < flipped < 350
    always = Augmentation(16, **{**NOTHING, "flip": 1.0})
    assert all(torch.equal(always(pixels, draw), pixels.flip(2)) for draw in range(20))


def test_the_four_interpolations_are_equally_probable():
    augmentation = Augmentation(8)
    found = Counter(augmentation.distortion(50, 50, draw).interpolation for draw in DRAWS)
    assert set(found) == {"bilinear", "area", "nearest", "cubic"}
    assert all(110 < count < 190 for count in found.values())
    fixed = Augmentation(8, interpolation="bilinear")
    assert {fixed.distortion(50, 50, draw).interpolation for draw in DRAWS} == {"bilinear"}


def untouched(box, interpolation):
    return Distortion(box, interpolation, False, ())


def test_nearest_takes_the_pixels_in_the_middle():
    seen = distorted(coordinates(20, 30), untouched(Box(2, 3, 9, 15), "nearest"), 3)
    assert seen[0, :, 0].tolist() == [3, 6, 9]  # middles of rows 2-4, 5-7, 8-10
    assert seen[1, 0].tolist() == [5, 10, 15]  # middles of columns 3-7, 8-12, 13-17


def test_area_takes_the_mean_of_what_is_under_a_pixel():
    pixels = noise(20, 30)
    seen = distorted(pixels, untouched(Box(2, 3, 9, 15), "area"), 3)
    for row in range(3):
        for column in range(3):
            under = pixels[:, 2 + 3 * row : 5 + 3 * row, 3 + 5 * column : 8 + 5 * column]
            assert seen[:, row, column].tolist() == under.double().mean((1, 2)).round().tolist()


@pytest.mark.parametrize(("mode", "name"), [("bilinear", "bilinear"), ("bicubic", "cubic")])
@pytest.mark.parametrize("side", [7, 40])
def test_bilinear_and_cubic_are_pytorch_s_antialiased_ones(mode, name, side):
    pixels = noise(20, 30) // 2 + 64  # cubic leaves the range of its pixels, but not 0 to 255
    part = pixels[None, :, 2:14, 3:18].double()
    expected = F.interpolate(part, (side, side), mode=mode, antialias=True)[0].clamp(0, 255)
    seen = distorted(pixels, untouched(Box(2, 3, 12, 15), name), side)
    assert (seen - expected).abs().max() < 1.1  # PyTorch reckons in whole numbers, in two steps


def plain_colours(pixels, colours):
    changes = {
        "brightness": functional.adjust_brightness,
        "contrast": functional.adjust_contrast,
        "saturation": functional.adjust_saturation,
        "hue": functional.adjust_hue,
    }
    changed = pixels / 255
    for name, amount in colours:
        changed = changes[name](changed, amount)
    return (changed * 255).round().to(torch.uint8)


def test_colours_are_changed_as_torchvision_changes_them():
    pixels = noise(16, 16)
    augmentation = Augmentation(16, **{**NOTHING, "colour": 1.0})
    for draw in range(40):
        colours = augmentation.distortion(16, 16, draw).colours
        assert torch.equal(augmentation(pixels, draw), plain_colours(pixels, colours))


def test_colours_by_hand():
    pixels = torch.tensor([100, 50, 200], dtype=torch.uint8).view(3, 1, 1)

    def changed(name, amount):
        return distorted(
            pixels, Distortion(Box(0, 0, 1, 1), "area", False, ((name, amount),)), 1
        ).flatten()

    assert changed("brightness", 1.5).tolist() == [150, 75, 255]
    assert changed("hue", 1 / 3).tolist() == [200, 100, 50]  # red is green's after a third
    grey = 0.2989 * 100 + 0.587 * 50 + 0.114 * 200  # ITU-R 601, as torchvision has it
    for name in ("contrast", "saturation"):  # of one pixel the mean is its own grey
        assert changed(name, 0.5).tolist() == pytest.approx(
            [(100 + grey) / 2, (50 + grey) / 2, (200 + grey) / 2], abs=0.6
        )


@pytest.mark.parametrize("strength", [0.5, 1, 2])
def test_amounts_are_even_and_their_order_is_random(strength):
    augmentation = Augmentation(8, colour=strength)
    found = [augmentation.distortion(9, 9, draw).colours for draw in DRAWS]
    for name, most in CHANGES.items():
        amounts = [dict(colours)[name] for colours in found]
        middle = 0 if name == "hue" else 1
        assert is_uniform(amounts, middle - most * strength, middle + most * strength)
    orders = Counter(tuple(name for name, _ in colours) for colours in found)
    assert len(orders) == 24 and min(orders.values()) > 600 / 24 / 4


def test_one_choice_changes_nothing_in_the_others():
    augmentation, other = Augmentation(8), Augmentation(8, flip=0, colour=0, interpolation="area")
    for draw in range(20):
        assert augmentation.distortion(90, 70, draw).box == other.distortion(90, 70, draw).box
    bare = Augmentation(8, area=(0.5, 0.6), colour=2)
    for draw in range(20):
        one, two = augmentation.distortion(90, 70, draw), bare.distortion(90, 70, draw)
        assert one[1:3] == two[1:3] and [n for n, _ in one.colours] == [n for n, _ in two.colours]


def test_the_same_draw_gives_the_same_picture_in_any_thread_and_memory_layout():
    pixels, augmentation = noise(40, 60), Augmentation(24)
    before = torch.get_rng_state()
    expected = [augmentation(pixels, draw) for draw in range(60)]
    torch.manual_seed(7)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda draw: augmentation(pixels, draw), range(60)))
    layout = pixels.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    other = [augmentation(layout, draw) for draw in range(60)]
    for one, two, three in zip(expected, found, other, strict=True):
        assert torch.equal(one, two) and torch.equal(one, three)
    torch.set_rng_state(before)
    augmentation(pixels, 5)
    assert torch.equal(torch.get_rng_state(), before)
    assert len({tuple(each.flatten().tolist()) for each in expected}) == 60


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (2, 3), (40, 60)])
def test_any_picture_becomes_a_square_and_stays_as_it_was(shape):
    pixels = noise(*shape)
    before = pixels.clone()
    for transform in (Augmentation(9), CenterCrop(9), CenterCrop(9, "squash")):
        for draw in range(12):
            seen = transform(pixels, draw)
            assert seen.shape == (3, 9, 9) and seen.dtype == torch.uint8 and seen.is_contiguous()
    assert torch.equal(pixels, before)


def test_of_one_pixel_every_part_is_that_pixel():
    pixels = noise(1, 1)
    for draw in range(12):
        assert torch.equal(Augmentation(5, colour=0)(pixels, draw), pixels.expand(3, 5, 5))


def test_the_plain_crop_is_the_centre():
    pixels = coordinates(16, 16)
    assert torch.equal(CenterCrop(14)(pixels, 0), pixels[:, 1:15, 1:15])
    wide = coordinates(16, 24)
    assert torch.equal(CenterCrop(14)(wide, 3), wide[:, 1:15, 5:19])
    high = coordinates(24, 16)
    assert torch.equal(CenterCrop(14)(high, 4), high[:, 5:19, 1:15])


def test_the_plain_crop_is_torchvision_s_resize_and_crop():
    for shape in ((50, 75), (75, 50), (20, 60)):  # where no half pixel is to be rounded
        pixels = noise(*shape)
        resized = functional.resize(pixels, [32], antialias=True)
        assert torch.equal(CenterCrop(28)(pixels, 0), functional.center_crop(resized, [28, 28]))


def test_the_squash_keeps_everything():
    pixels = coordinates(60, 90)
    seen = CenterCrop(6, "squash")(pixels, 0).int()
    assert (seen[0, :, 0] - torch.tensor([5, 14, 24, 35, 45, 54])).abs().max() <= 1
    assert (seen[1, 0] - torch.tensor([7, 22, 37, 52, 67, 82])).abs().max() <= 1


def test_a_thin_strip_does_not_fill_the_memory():
    strip = torch.zeros(3, 1, 1_000_000, dtype=torch.uint8)
    assert CenterCrop(224)(strip, 0).shape == (3, 224, 224)
    assert Augmentation(224)(strip, 0).shape == (3, 224, 224)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"side": 0}, "side is 0; it must be at least 1"),
        ({"area": (0, 1)}, r"area is \(0, 1\); expected 0 < least <= greatest <= 1"),
        ({"area": (0.5, 0.4)}, "expected 0 < least <= greatest <= 1"),
        ({"area": (0.5, 1.1)}, "expected 0 < least <= greatest <= 1"),
        ({"aspect": (0, 1)}, r"aspect is \(0, 1\); expected 0 < least <= greatest"),
        ({"aspect": (2, 1)}, "expected 0 < least <= greatest"),
        ({"aspect": (1, math.inf)}, "expected 0 < least <= greatest"),
        ({"flip": 1.5}, "flip is 1.5; it is a probability"),
        ({"colour": -1}, "colour is -1; it must be from 0 to 2"),
        ({"colour": 2.1}, "colour is 2.1; it must be from 0 to 2"),
        ({"interpolation": "best"}, "'best'; it must be one of random, bilinear, area, nearest"),
    ],
)
def test_choices_out_of_range_are_refused(choices, message):
    with pytest.raises(ValueError, match=message):
        Augmentation(**{"side": 8, **choices})


def test_a_plain_one_says_what_it_does_not_know():
    with pytest.raises(ValueError, match="side is 0"):
        CenterCrop(0)
    with pytest.raises(ValueError, match="resize is 'best'; it must be one of squash, center-crop"):
        CenterCrop(8, "best")


@pytest.mark.parametrize("transform", [Augmentation(4), CenterCrop(4)])
def test_what_is_no_picture_is_refused(transform):
    with pytest.raises(ValueError, match=r"pixels have shape \(1, 4, 4\), not \(3, H, W\)"):
        transform(torch.zeros(1, 4, 4, dtype=torch.uint8), 0)
    with pytest.raises(ValueError, match=r"pixels have shape \(3, 0, 4\), not \(3, H, W\)"):
        transform(torch.zeros(3, 0, 4, dtype=torch.uint8), 0)
    with pytest.raises(ValueError, match=r"pixels are torch\.float32; expected uint8"):
        transform(torch.zeros(3, 4, 4), 0)


@pytest.mark.parametrize("side", [32, 64, 75, 224, 299])
@pytest.mark.parametrize("size", [(40, 61), (61, 40), (57, 57), (90, 130)])
def test_the_plain_crop_is_the_one_that_evaluation_takes(side, size):
    pixels = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
    (wanted,) = crops(pixels / 255, size=side, num_crops=1)
    found = CenterCrop(side)(pixels, 0) / 255
    assert (found - wanted).abs().max() < 1.01 / 255  # one rounding to whole numbers, or two
