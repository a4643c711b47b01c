"""Augmentation: the stated distributions, arithmetic by hand, and torchvision's functions."""

import math
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations

import pytest
import torch
import torch.nn.functional as F
from torchvision.transforms.v2 import functional

from vl.data.images.augmentation import (
    COLOR_CHANGES,
    Augmentation,
    AugmentationParams,
    CenterCrop,
    Region,
    augment,
)
from vl.data.images.crops import crops_without_flips

SEEDS = range(600)
INTERPOLATIONS = ("bilinear", "area", "nearest-exact", "bicubic")


def noise(height, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (3, height, width), generator=generator, dtype=torch.uint8)


def coordinates(height, width):
    """An image of its coordinates: row in red, column in green."""
    rows = torch.arange(height)[:, None].expand(height, width)
    columns = torch.arange(width).expand(height, width)
    return torch.stack([rows, columns, torch.zeros(height, width)]).to(torch.uint8)


def regions(height, width, **choices):
    augmentation = Augmentation(8, **choices)
    return [augmentation.params(height, width, seed).region for seed in SEEDS]


def params(box, interpolation="area", flip=False, colors=()):
    return AugmentationParams(box, interpolation, flip, colors)


def is_uniform(values, least, greatest):
    """Whether values fill an interval evenly: no tenth has less than half or twice its share."""
    shares = [(value - least) / (greatest - least) for value in values]
    assert min(shares) >= -1e-2 and max(shares) <= 1 + 1e-2
    tenths = Counter(min(max(int(10 * share), 0), 9) for share in shares)
    return all(0.5 < 10 * tenths[tenth] / len(values) < 2 for tenth in range(10))


@pytest.mark.parametrize(
    ("height", "width", "largest"),
    [(3000, 3000, 0.5), (3000, 3000, 1), (3000, 3900, 1), (3900, 3000, 1)],
)
def test_areas_are_uniform_and_aspect_ratios_log_uniform(height, width, largest):
    sample = regions(height, width, crop_area=(0.08, largest))
    areas = [box.height * box.width / (height * width) for box in sample]
    assert is_uniform(areas, 0.08, largest)
    aspects = [math.log(box.width / box.height) for box in sample]
    low, high = math.log(3 / 4), math.log(4 / 3)
    assert min(aspects) >= low - 1e-2 and max(aspects) <= high + 1e-2
    if largest < 1:  # else some ratios do not fit
        assert is_uniform(aspects, low, high)


def test_positions_are_uniform_and_uncorrelated():
    sample = regions(3000, 3000, crop_area=(0.1, 0.3))
    tops = [box.top / (3000 - box.height) for box in sample]
    lefts = [box.left / (3000 - box.width) for box in sample]
    assert is_uniform(tops, 0, 1) and is_uniform(lefts, 0, 1)
    sizes = [float(box.height * box.width) for box in sample]
    aspects = [box.width / box.height for box in sample]
    for one, other in combinations([tops, lefts, sizes, aspects], 2):
        assert abs(torch.corrcoef(torch.tensor([one, other]))[0, 1]) < 0.15


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 1), (1, 900), (900, 1), (3, 5), (375, 500)])
def test_regions_lie_inside_the_image(shape):
    height, width = shape
    for top, left, box_height, box_width in regions(*shape):
        assert top >= 0 and left >= 0 and box_height >= 1 and box_width >= 1
        assert top + box_height <= height and left + box_width <= width


def test_every_position_is_reached():
    sample = regions(6, 6, crop_area=(0.25, 0.25))  # 3 x 3, whatever the ratio
    positions = Counter((box.top, box.left) for box in sample)
    assert set(positions) == {(top, left) for top in range(4) for left in range(4)}
    assert min(positions.values()) > 600 / 16 / 2


def test_long_image_has_areas_up_to_the_largest_that_fits():
    for height, width in ((1000, 40_000), (40_000, 1000)):  # at most 1/30 of it is 4 : 3
        for box in regions(height, width):
            short, long = sorted([box.height, box.width])
            assert short == 1000 and long == pytest.approx(1000 * 4 / 3, abs=1)
    areas = [box.height * box.width / (2000 * 6000) for box in regions(2000, 6000)]
    assert is_uniform(areas, 0.08, 4 / 9)  # 2000 x 2667 of 2000 x 6000


def test_image_of_the_right_size_is_returned_bit_for_bit_or_flipped():
    pixels, whole = noise(16, 16), Region(0, 0, 16, 16)
    for interpolation in INTERPOLATIONS:
        assert torch.equal(augment(pixels, params(whole, interpolation), 16), pixels)
    flipped = augment(pixels, params(whole, flip=True), 16)
    assert torch.equal(flipped, pixels[:, :, torch.arange(15, -1, -1)])


@pytest.mark.parametrize(("flip", "least", "most"), [(0, 0, 0), (0.5, 250, 350), (1, 600, 600)])
def test_flip_has_its_probability_and_interpolations_are_equally_probable(flip, least, most):
    augmentation = Augmentation(8, flip=flip)
    sample = [augmentation.params(50, 50, seed) for seed in SEEDS]
    assert least <= sum(image.flip for image in sample) <= most
    counts = Counter(image.interpolation for image in sample)
    assert set(counts) == set(INTERPOLATIONS)
    assert all(110 < count < 190 for count in counts.values())


def test_nearest_takes_the_center_pixels():
    output = augment(coordinates(20, 30), params(Region(2, 3, 9, 15), "nearest-exact"), 3)
    assert output[0, :, 0].tolist() == [3, 6, 9]  # centers of rows 2-4, 5-7, 8-10
    assert output[1, 0].tolist() == [5, 10, 15]  # centers of columns 3-7, 8-12, 13-17


def test_area_takes_the_mean_under_a_pixel():
    pixels = noise(20, 30)
    output = augment(pixels, params(Region(2, 3, 9, 15), "area"), 3)
    for row in range(3):
        for column in range(3):
            under = pixels[:, 2 + 3 * row : 5 + 3 * row, 3 + 5 * column : 8 + 5 * column]
            assert output[:, row, column].tolist() == under.double().mean((1, 2)).round().tolist()


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [7, 40])
def test_bilinear_and_cubic_are_pytorchs_antialiased(mode, size):
    pixels = noise(20, 30) // 2 + 64  # cubic leaves the range of its pixels, but not 0 to 255
    part = pixels[None, :, 2:14, 3:18].double()
    expected = F.interpolate(part, (size, size), mode=mode, antialias=True)[0].clamp(0, 255)
    output = augment(pixels, params(Region(2, 3, 12, 15), mode), size)
    assert (output - expected).abs().max() < 1.1  # PyTorch computes in integers, in two steps


def test_colors_are_changed_by_torchvisions_functions():
    pixels, augmentation = noise(16, 16), Augmentation(16)
    for seed in range(40):
        colors = augmentation.params(16, 16, seed).colors
        expected = pixels / 255
        for name, amount in colors:
            expected = getattr(functional, f"adjust_{name}")(expected, amount)
        changed = augment(pixels, params(Region(0, 0, 16, 16), colors=colors), 16)
        assert torch.equal(changed, (expected * 255).round().to(torch.uint8))


def test_colors_by_hand():
    pixels = torch.tensor([100, 50, 200], dtype=torch.uint8).view(3, 1, 1)

    def changed(name, amount):
        change = params(Region(0, 0, 1, 1), colors=((name, amount),))
        return augment(pixels, change, 1).flatten()

    assert changed("brightness", 1.5).tolist() == [150, 75, 255]
    assert changed("hue", 1 / 3).tolist() == [200, 100, 50]  # red is green's after a third
    grey = 0.2989 * 100 + 0.587 * 50 + 0.114 * 200  # ITU-R 601, as torchvision has it
    for name in ("contrast", "saturation"):  # of one pixel the mean is its own grey
        assert changed(name, 0.5).tolist() == pytest.approx(
            [(100 + grey) / 2, (50 + grey) / 2, (200 + grey) / 2], abs=0.6
        )


@pytest.mark.parametrize("strength", [0.5, 1, 2])
def test_color_changes_are_uniform_in_random_order(strength):
    augmentation = Augmentation(8, color_jitter=strength)
    sample = [augmentation.params(9, 9, seed).colors for seed in SEEDS]
    for name, most in COLOR_CHANGES.items():
        amounts = [dict(colors)[name] for colors in sample]
        middle = 0 if name == "hue" else 1
        assert is_uniform(amounts, middle - most * strength, middle + most * strength)
    orders = Counter(tuple(name for name, _ in colors) for colors in sample)
    assert len(orders) == 24 and min(orders.values()) > 600 / 24 / 4


def test_options_do_not_change_each_other():
    augmentation, other = Augmentation(8), Augmentation(8, flip=0, color_jitter=0)
    for seed in range(20):
        assert augmentation.params(90, 70, seed)[:2] == other.params(90, 70, seed)[:2]
    bare = Augmentation(8, crop_area=(0.5, 0.6), color_jitter=2)
    for seed in range(20):
        one, two = augmentation.params(90, 70, seed), bare.params(90, 70, seed)
        assert one[1:3] == two[1:3] and [n for n, _ in one.colors] == [n for n, _ in two.colors]


def test_same_seed_gives_the_same_image_in_any_thread_and_memory_layout():
    pixels, augmentation = noise(40, 60), Augmentation(24)
    before = torch.get_rng_state()
    expected = [augmentation(pixels, seed) for seed in range(60)]
    torch.manual_seed(7)
    with ThreadPoolExecutor(4) as pool:
        sample = list(pool.map(lambda seed: augmentation(pixels, seed), range(60)))
    layout = pixels.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    other = [augmentation(layout, seed) for seed in range(60)]
    for one, two, three in zip(expected, sample, other, strict=True):
        assert torch.equal(one, two) and torch.equal(one, three)
    torch.set_rng_state(before)
    augmentation(pixels, 5)
    assert torch.equal(torch.get_rng_state(), before)
    assert len({tuple(image.flatten().tolist()) for image in expected}) == 60


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (2, 3), (40, 60)])
def test_any_image_becomes_a_square_and_is_not_modified(shape):
    pixels = noise(*shape)
    before = pixels.clone()
    for transform in (Augmentation(9), CenterCrop(9), CenterCrop(9, "squash")):
        for seed in range(12):
            output = transform(pixels, seed)
            assert output.shape == (3, 9, 9) and output.dtype == torch.uint8
            assert output.is_contiguous()
    assert torch.equal(pixels, before)


def test_center_crop_is_torchvisions_resize_and_crop():
    for shape in ((50, 75), (75, 50), (20, 60)):  # where no half pixel is to be rounded
        pixels = noise(*shape)
        resized = functional.resize(pixels, [32], antialias=True)
        assert torch.equal(CenterCrop(28)(pixels, 0), functional.center_crop(resized, [28, 28]))


def test_squash_keeps_the_whole_image():
    pixels = coordinates(60, 90)
    output = CenterCrop(6, "squash")(pixels, 0).int()
    assert (output[0, :, 0] - torch.tensor([5, 14, 24, 35, 45, 54])).abs().max() <= 1
    assert (output[1, 0] - torch.tensor([7, 22, 37, 52, 67, 82])).abs().max() <= 1


def test_thin_strip_does_not_fill_the_memory():
    strip = torch.zeros(3, 1, 1_000_000, dtype=torch.uint8)
    assert CenterCrop(224)(strip, 0).shape == (3, 224, 224)
    assert Augmentation(224)(strip, 0).shape == (3, 224, 224)


@pytest.mark.parametrize("size", [32, 64, 75, 224, 299])
@pytest.mark.parametrize("shape", [(40, 61), (61, 40), (57, 57), (90, 130)])
def test_center_crop_is_the_crop_of_evaluation(size, shape):
    pixels = noise(*shape)
    (expected,) = crops_without_flips(pixels / 255, size=size, num_crops=1)
    output = CenterCrop(size)(pixels, 0) / 255
    assert (output - expected).abs().max() < 1.01 / 255  # one rounding to integers, or two
