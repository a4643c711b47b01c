"""Squares are torchvision's, bit for bit."""

import pytest
import torch
from torchvision.transforms.v2 import functional

from vl.data.images.decode import square


def test_right_size_is_returned_unchanged():
    pixels = torch.rand(3, 6, 6)
    assert square(pixels, 6) is pixels and square(pixels, 6, "squash") is pixels


@pytest.mark.parametrize("shape", [(40, 60), (60, 40), (33, 20), (10, 12)])
def test_squares_are_bit_identical_to_torchvision(shape):
    pixels = torch.rand(3, *shape)
    size = 15
    squashed = functional.resize(pixels, [size, size], antialias=True).clamp(0, 1)
    assert torch.equal(square(pixels, size, "squash"), squashed)
    height, width = (round(size * length / min(shape)) for length in shape)
    resized = functional.resize(pixels, [height, width], antialias=True).clamp(0, 1)
    top, left = (height - size) // 2, (width - size) // 2
    cropped = resized[:, top : top + size, left : left + size]
    assert torch.equal(square(pixels, size), cropped)


def test_center_crop_keeps_the_center_and_squash_the_whole():
    pixels = torch.zeros(3, 8, 24)
    pixels[:, :, 8:16] = 1
    assert torch.equal(square(pixels, 8), torch.ones(3, 8, 8))
    assert square(pixels, 8, "squash").mean() == pytest.approx(1 / 3, abs=0.01)


def test_input_is_unchanged_and_values_stay_in_range():
    pixels = torch.ones(3, 30, 50)
    pixels[:, ::2] = 0
    before = pixels.clone()
    for resize in ("center-crop", "squash"):
        small = square(pixels, 7, resize)
        assert small.shape == (3, 7, 7) and small.min() >= 0 and small.max() <= 1
    assert torch.equal(pixels, before)


def test_thin_strip_does_not_fill_the_memory():
    assert square(torch.rand(3, 1, 1_000_000), 224).shape == (3, 224, 224)
