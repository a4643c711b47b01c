"""Crops: of pictures whose pixels are their own places, against slices and hand arithmetic."""

import pytest
import torch

from vl.data.images.crops import SCALES, CropBox, crop_boxes, crops, crops_without_flips
from vl.data.images.decode import square


def places(height, width):
    """Red is the row and green the column, of the larger side; blue is nothing."""
    rows = torch.arange(height)[:, None].expand(height, width)
    columns = torch.arange(width)[None].expand(height, width)
    return torch.stack([rows, columns, torch.zeros(height, width)]) / max(height, width)


def test_ten_crops_of_256_pixels_are_its_corners_its_centre_and_their_mirror_images():
    picture = places(256, 256)
    cut = crops(picture, size=224, num_crops=10)
    by_hand = [
        picture[:, :224, :224],
        picture[:, :224, 32:],
        picture[:, 32:, :224],
        picture[:, 32:, 32:],
        picture[:, 16:240, 16:240],
    ]
    assert torch.equal(cut[:5], torch.stack(by_hand))
    assert torch.equal(cut[5:], torch.stack([crop.flip(2) for crop in by_hand]))


def test_one_crop_is_the_centre_and_is_not_mirrored():
    picture = places(256, 300)
    cut = crops(picture, size=224, num_crops=1)
    assert cut.shape == (1, 3, 224, 224)
    assert torch.equal(cut[0], picture[:, 16:240, 38:262])  # 22 + 16 from the left
    assert torch.equal(crops_without_flips(picture, size=224, num_crops=10)[4], cut[0])


@pytest.mark.parametrize(("height", "width"), [(256, 320), (320, 256)])
def test_ten_crops_are_of_the_centre_square(height, width):
    first, *_ = crop_boxes(height, width, size=224, num_crops=10)
    start = (0, 32) if width > height else (32, 0)
    assert first == CropBox(height, width, *start, 224)
    assert len(crop_boxes(height, width, size=224, num_crops=10)) == 5


def test_the_144_boxes_of_a_landscape_are_those_of_the_paper():
    # 500 x 375 at 256, 288, 320, 352 is 341 (341.3), 384, 427 (426.7) and 469 (469.3) wide, which
    # leaves 85, 96, 107 and 117 beside a square.
    by_hand = []
    for shorter, width, left in ((256, 341, 85), (288, 384, 96), (320, 427, 107), (352, 469, 117)):
        inner = shorter - 224
        for start in (0, left // 2, left):
            for down, right in ((0, 0), (0, inner), (inner, 0), (inner, inner)):
                by_hand.append(CropBox(shorter, width, down, start + right, 224))
            by_hand.append(CropBox(shorter, width, inner // 2, start + inner // 2, 224))
            by_hand.append(CropBox(shorter, width, 0, start, shorter))
    assert crop_boxes(375, 500, size=224, num_crops=144) == by_hand
    assert len(by_hand) * 2 == 144


def test_boxes_of_an_upright_photograph_are_a_landscape_s_turned():
    def turned(box):
        return CropBox(box.width, box.height, box.left, box.top, box.size)

    for number in (1, 10, 144):
        landscape = crop_boxes(375, 500, size=224, num_crops=number)
        upright = crop_boxes(500, 375, size=224, num_crops=number)
        assert set(upright) == {turned(box) for box in landscape}


def test_scales_and_boxes_follow_the_encoder_s_side():
    # 299 / 224 of 256, 288, 320 and 352 are 341.7, 384.4, 427.1 and 469.9.
    assert list(
        dict.fromkeys(box.height for box in crop_boxes(10, 10, size=299, num_crops=144))
    ) == [*(342, 384, 427, 470)]
    twice = crop_boxes(300, 500, size=448, num_crops=144)
    for once, double in zip(crop_boxes(300, 500, size=224, num_crops=144), twice, strict=True):
        assert double.size == 2 * once.size
        assert abs(double.left - 2 * once.left) <= 2  # 500 / 300 of 288 is rounded
        assert double.top == 2 * once.top


@pytest.mark.parametrize("number", [1, 10, 144])
@pytest.mark.parametrize("side", [1, 2, 16, 32, 224, 299])
@pytest.mark.parametrize("size", [(1, 1), (3, 1), (1, 5), (17, 16), (255, 257), (600, 110)])
def test_every_box_lies_inside(number, side, size):
    found = crop_boxes(*size, size=side, num_crops=number)
    assert len(found) == {1: 1, 10: 5, 144: 72}[number]
    for box in found:
        assert 0 <= box.top <= box.height - box.size
        assert 0 <= box.left <= box.width - box.size
        assert min(box.height, box.width) >= box.size >= side


@pytest.mark.parametrize(("height", "width"), [(60, 80), (80, 60)])
def test_a_crop_of_places_shows_the_places_of_its_box(height, width):
    picture = places(height, width)
    side = 32  # 256 is 36.6 here
    cut = crops(picture, size=side, num_crops=144)
    assert cut.shape == (144, 3, side, side)
    seen = [0, 0]
    for crop, box in zip(cut, crop_boxes(height, width, size=side, num_crops=144), strict=False):
        for channel, start, whole, length in (
            (0, box.top, box.height, height),
            (1, box.left, box.width, width),
        ):
            # The middle of pixel i of a crop is at this place of the picture, which counts from
            # the middle of its own first pixel; at the border there is nothing to average with.
            middle = start + (torch.arange(side) + 0.5) * box.size / side
            expected = (middle * length / whole - 0.5) / max(height, width)
            got = crop[channel].mean(1 - channel)
            assert (got - expected)[3:-3].abs().max() < 0.3 / max(height, width)
            seen[channel] += 1
    assert seen == [72, 72]
    assert torch.equal(cut[72:], cut[:72].flip(-1))


def test_the_whole_square_is_among_the_144():
    picture = places(256, 256)
    cut = crops(picture, size=224, num_crops=144)
    assert torch.equal(cut[5], square(picture, 224, "squash"))
    assert torch.equal(cut[5], cut[11])  # a square picture has one square three times
    assert not torch.equal(cut[4], cut[5])


@pytest.mark.parametrize("turn", [False, True])
def test_a_thin_strip_shows_its_ends_and_its_middle(turn):
    short, long, side = 8, 4000, 8
    strip = places(short, long)
    strip = strip.transpose(1, 2) if turn else strip
    cut = crops(strip, size=side, num_crops=144)
    cut = cut.transpose(2, 3) if turn else cut
    columns = cut[:72, 1].mean((1, 2)) * long
    first, middle, last = columns.view(len(SCALES), 3, 6).mean((0, 2))
    assert 0 < first < 8
    assert abs(middle - long / 2) < 4
    assert long - 8 < last < long
    assert crops(torch.rand(3, 1, 100_000), size=224, num_crops=10).shape == (10, 3, 224, 224)


def test_wrong_numbers_are_refused():
    with pytest.raises(ValueError, match="num_crops is 12"):
        crop_boxes(10, 10, size=5, num_crops=12)
    with pytest.raises(ValueError, match="height 10, width 10, size 0; each must be at least 1"):
        crop_boxes(10, 10, size=0, num_crops=1)
