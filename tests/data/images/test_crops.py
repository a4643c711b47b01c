"""Crops of images whose pixels are their coordinates, against slices and arithmetic by hand."""

import pytest
import torch

from vl.data.images.crops import SCALES, CropBox, crop_boxes, crops_without_flips
from vl.data.images.decode import square


def coordinates(height, width):
    """Red is the row, green the column, over the longer size; blue is 0."""
    rows = torch.arange(height)[:, None].expand(height, width)
    columns = torch.arange(width)[None].expand(height, width)
    return torch.stack([rows, columns, torch.zeros(height, width)]) / max(height, width)


def test_ten_crops_are_corners_and_center_of_which_one_crop_is_the_last():
    image = coordinates(256, 256)
    output = crops_without_flips(image, size=224, num_crops=10)
    expected = [
        image[:, :224, :224],
        image[:, :224, 32:],
        image[:, 32:, :224],
        image[:, 32:, 32:],
        image[:, 16:240, 16:240],
    ]
    assert torch.equal(output, torch.stack(expected))
    assert torch.equal(crops_without_flips(image, size=224, num_crops=1), output[4:])


@pytest.mark.parametrize(("height", "width"), [(256, 320), (320, 256)])
def test_ten_crops_are_of_the_center_square(height, width):
    first, *_ = crop_boxes(height, width, size=224, num_crops=10)
    start = (0, 32) if width > height else (32, 0)
    assert first == CropBox(height, width, *start, 224)
    assert len(crop_boxes(height, width, size=224, num_crops=10)) == 5


def test_the_144_boxes_are_those_of_the_paper():
    # 500 x 375 at 256, 288, 320, 352 is 341 (341.3), 384, 427 (426.7) and 469 (469.3) wide, which
    # leaves 85, 96, 107 and 117 beside a square.
    expected = []
    for shorter, width, left in ((256, 341, 85), (288, 384, 96), (320, 427, 107), (352, 469, 117)):
        inner = shorter - 224
        for start in (0, left // 2, left):
            for down, right in ((0, 0), (0, inner), (inner, 0), (inner, inner)):
                expected.append(CropBox(shorter, width, down, start + right, 224))
            expected.append(CropBox(shorter, width, inner // 2, start + inner // 2, 224))
            expected.append(CropBox(shorter, width, 0, start, shorter))
    assert crop_boxes(375, 500, size=224, num_crops=144) == expected
    assert len(expected) * 2 == 144


def test_boxes_of_a_portrait_are_those_of_a_landscape_transposed():
    def transposed(box):
        return CropBox(box.width, box.height, box.left, box.top, box.size)

    for num_crops in (1, 10, 144):
        landscape = crop_boxes(375, 500, size=224, num_crops=num_crops)
        portrait = crop_boxes(500, 375, size=224, num_crops=num_crops)
        assert set(portrait) == {transposed(box) for box in landscape}


def test_boxes_scale_with_the_crop_size():
    # 299 / 224 of 256, 288, 320 and 352 are 341.7, 384.4, 427.1 and 469.9.
    heights = [box.height for box in crop_boxes(10, 10, size=299, num_crops=144)]
    assert list(dict.fromkeys(heights)) == [342, 384, 427, 470]
    twice = crop_boxes(300, 500, size=448, num_crops=144)
    for once, double in zip(crop_boxes(300, 500, size=224, num_crops=144), twice, strict=True):
        assert double.size == 2 * once.size
        assert abs(double.left - 2 * once.left) <= 2  # 500 / 300 of 288 is rounded
        assert double.top == 2 * once.top


@pytest.mark.parametrize("num_crops", [1, 10, 144])
@pytest.mark.parametrize("size", [1, 2, 16, 32, 224, 299])
@pytest.mark.parametrize("shape", [(1, 1), (3, 1), (1, 5), (17, 16), (255, 257), (600, 110)])
def test_boxes_lie_inside_the_image(num_crops, size, shape):
    boxes = crop_boxes(*shape, size=size, num_crops=num_crops)
    assert len(boxes) == {1: 1, 10: 5, 144: 72}[num_crops]
    for box in boxes:
        assert 0 <= box.top <= box.height - box.size
        assert 0 <= box.left <= box.width - box.size
        assert min(box.height, box.width) >= box.size >= size


@pytest.mark.parametrize(("height", "width"), [(60, 80), (80, 60)])
def test_crops_show_the_coordinates_of_their_boxes(height, width):
    image = coordinates(height, width)
    size = 32  # 256 is 36.6 here
    output = crops_without_flips(image, size=size, num_crops=144)
    assert output.shape == (72, 3, size, size)
    for crop, box in zip(output, crop_boxes(height, width, size=size, num_crops=144), strict=True):
        for channel, start, whole, length in (
            (0, box.top, box.height, height),
            (1, box.left, box.width, width),
        ):
            # The center of pixel i of a crop in the image's coordinates, which start at the center
            # of its first pixel; at the border there is nothing to average with.
            center = start + (torch.arange(size) + 0.5) * box.size / size
            expected = (center * length / whole - 0.5) / max(height, width)
            values = crop[channel].mean(1 - channel)
            assert (values - expected)[3:-3].abs().max() < 0.3 / max(height, width)


def test_the_whole_square_is_one_of_the_144():
    image = coordinates(256, 256)
    output = crops_without_flips(image, size=224, num_crops=144)
    assert torch.equal(output[5], square(image, 224, "squash"))
    assert torch.equal(output[5], output[11])  # a square image has one square three times
    assert not torch.equal(output[4], output[5])


@pytest.mark.parametrize("turn", [False, True])
def test_thin_strip_shows_its_ends_and_its_center(turn):
    short, long, size = 8, 4000, 8
    strip = coordinates(short, long)
    strip = strip.transpose(1, 2) if turn else strip
    output = crops_without_flips(strip, size=size, num_crops=144)
    output = output.transpose(2, 3) if turn else output
    columns = output[:, 1].mean((1, 2)) * long
    first, middle, last = columns.view(len(SCALES), 3, 6).mean((0, 2))
    assert 0 < first < 8
    assert abs(middle - long / 2) < 4
    assert long - 8 < last < long
    long_strip = torch.rand(3, 1, 100_000)
    output = crops_without_flips(long_strip, size=224, num_crops=10)
    assert output.shape == (5, 3, 224, 224)
