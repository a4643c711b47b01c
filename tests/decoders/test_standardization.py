"""Standardized embeddings: mean 0 and deviation 1, in both decoders that take them."""

import pytest
import torch

from vl.decoders.devise import Devise
from vl.decoders.show_and_tell import ShowAndTell
from vl.decoders.standardization import StandardizedInput


def test_standardized_embeddings_have_mean_0_and_deviation_1() -> None:
    images = 5 * torch.randn(200, 6) + torch.arange(6)
    module = StandardizedInput(6)
    assert torch.equal(module.standardized(images), images)  # as published
    module.standardize(images)
    expected = (images - images.mean(0)) / (images - images.mean(0)).square().mean().sqrt()
    assert torch.allclose(module.standardized(images), expected, atol=1e-5)
    module.standardize(torch.ones(4, 6))  # the scale is clamped
    assert module.standardized(torch.ones(1, 6)).isfinite().all()


@pytest.mark.parametrize(
    "make",
    [
        lambda: Devise(image_width=6, width=3),
        lambda: ShowAndTell(image_width=6, vocabulary_size=4, dropout=0.0),
    ],
)
def test_decoders_standardize_their_input(make) -> None:
    raw, decoder, images = make(), make(), 5 * torch.randn(20, 6) + torch.arange(6)
    decoder.standardize(images)
    raw.load_state_dict({**decoder.state_dict(), **StandardizedInput(6).state_dict()})
    outputs = [
        model.start(inputs)[0] if isinstance(model, ShowAndTell) else model(inputs)
        for model, inputs in ((decoder, images), (raw, decoder.standardized(images)))
    ]
    assert torch.equal(*outputs)
    with pytest.raises(ValueError, match="width 7"):
        decoder.standardized(torch.zeros(1, 7))
