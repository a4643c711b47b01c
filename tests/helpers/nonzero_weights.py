"""Networks in which every weight matters, so that a wrong one changes the output."""

import torch
from torch import nn


def silence_dropout(network):
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0


def randomize(network, seed=0):
    """Draw convolutions that keep the signal alive, and batch norms unlike the identity.

    With PyTorch's initialization the embeddings of all images are nearly equal.
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


def images(count=4, side=64, seed=0):
    """Images that differ in color and texture, ``(count, 3, side, side)``."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(count, 3, side, side, generator=generator)
    return noise * torch.rand(count, 3, 1, 1, generator=generator)


def check_differ(outputs):
    """Outputs that are nearly equal for all images would let a wrong branch pass."""
    assert outputs.std(0).mean() > 0.02 * outputs.abs().mean() > 0


def check_batch_invariance(network, pixels):
    """Neither the size nor the order of a batch changes an embedding."""
    order = torch.arange(len(pixels)).flip(0)
    with torch.no_grad():
        together = network(pixels)
        alone = torch.cat([network(image[None]) for image in pixels])
        reordered = network(pixels[order])
    tolerance = 1e-5 * together.abs().max().item()
    torch.testing.assert_close(alone, together, rtol=0, atol=tolerance)
    torch.testing.assert_close(reordered, together[order], rtol=0, atol=tolerance)
    assert together.shape == (len(pixels), network.width)
    check_differ(together)


def normalize_imagenet(pixels):
    """As torchvision's networks expect it."""
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)  # ImageNet's, in torchvision's docs
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    return (pixels - mean) / std
