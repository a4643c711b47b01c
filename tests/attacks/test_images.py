"""Adversarial images in 8 bits: never farther from the original than the attack's bound."""

import pytest
import torch

from vl.attacks.images import round_within


@pytest.mark.parametrize("epsilon", [0.002, 0.007, 0.01, 1 / 255, 8 / 255, 0.25])
@pytest.mark.parametrize("levels", [255, 2**24])  # of 8-bit files, of resized images
def test_rounding_keeps_the_bound_and_is_the_nearest(epsilon, levels):
    generator = torch.Generator().manual_seed(0)
    clean = torch.randint(levels + 1, (3, 50, 50), generator=generator).float() / levels
    noise = torch.randint(-1, 2, clean.shape, generator=generator) * epsilon
    adversarial = (clean + noise).clamp(0, 1)
    saved = round_within(adversarial, clean, epsilon)
    assert saved.dtype == torch.uint8
    assert float((saved / 255 - clean).abs().max()) <= epsilon + 1e-6
    # By trying all 256 values: the nearest of those within the bound.
    values = torch.arange(256, dtype=torch.float64)[:, None] / 255
    distance = (values - adversarial.double().flatten()).abs()
    allowed = (values - clean.double().flatten()).abs() <= epsilon + 2e-7
    best = distance.masked_fill(~allowed, 9).min(0).values
    chosen = (saved.double().flatten() / 255 - adversarial.double().flatten()).abs()
    assert float((chosen - best).abs().max()) < 1e-6


def test_bound_below_half_a_step_leaves_what_8_bits_have():
    clean = torch.tensor([10.0, 10.4, 10.6, 255]) / 255
    saved = round_within((clean + 0.001).clamp(0, 1), clean, 0.001)
    assert saved.tolist() == [10, 10, 11, 255]
