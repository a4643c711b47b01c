"""Networks whose every number matters, so that a wrong one shows in an answer."""

import torch
from torch import nn


def silence_dropout(network):
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0


def stir(network, seed=0):
    """Batch norms with numbers of their own, and convolutions that let no image fade away.

    New ones have means of 0 and variances of 1, and say nearly the same of every image.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.7, 1.3, generator=generator)
            nn.init.uniform_(module.weight, 0.8, 1.2, generator=generator)
            nn.init.normal_(module.bias, 0, 0.1, generator=generator)
    return network


def initialize_for_relu(network):
    """First weights that let no image fade away; with PyTorch's own, all embeddings are near 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return network


def noise_images(count=4, side=64, seed=0):
    """Images that differ in color and texture."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(count, 3, side, side, generator=generator)
    return noise * torch.rand(count, 3, 1, 1, generator=generator)


def check_distinct(embeddings, *, least=0.01):
    """Equal embeddings would agree whatever the network does."""
    assert embeddings.std(0).mean() > 0.02 * embeddings.abs().mean()
    assert embeddings.abs().mean() > least


def check_same_in_any_batch(network, pixels):
    """Neither batch size nor order changes the embeddings of four images, which differ."""
    order = torch.tensor([2, 0, 3, 1])
    with torch.no_grad():
        together = network(pixels)
        alone = torch.cat([network(image[None]) for image in pixels])
        shuffled = network(pixels[order])
    assert together.shape == (4, network.width)
    nearly = 1e-5 * together.max().item()
    torch.testing.assert_close(together, alone, rtol=0, atol=nearly)
    torch.testing.assert_close(shuffled, together[order], rtol=0, atol=nearly)
    check_distinct(together)


def check_told_apart(answers):
    """Two images whose answers are nearly the same would let a wrong branch pass."""
    assert (answers[0] - answers[1]).abs().mean() > 0.02 * answers.abs().mean()


def as_torchvision_feeds_it(pixels):
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)  # ImageNet's, in torchvision's docs
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    return (pixels - mean) / std
