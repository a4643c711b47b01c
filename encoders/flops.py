"""The size of an encoder: its parameters, and its multiply-adds for one image."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from vl.encoders.table import EncoderConfig, create_encoder, on_meta
from vl.encoders.timm_features import PREFIX, timm_network
from vl.encoders.torchvision_features import torchvision_network


class ModelSize(NamedTuple):
    """Of an encoder with its classifier and without auxiliary heads."""

    parameters: int
    embedding_parameters: int  # all but the classifier's
    multiply_adds: int  # for one image of the encoder's image size
    image_size: int  # pixels a side
    width: int  # of the embedding


def model_size(name: str, config: EncoderConfig | None = None) -> ModelSize:
    """The size of an encoder, see ``create_encoder``; nothing is allocated or computed."""
    with on_meta():
        encoder = create_encoder(name, config).to("meta").eval()
        classifying: nn.Module = encoder
        if encoder.classifier is None:
            timms = name.startswith(PREFIX)
            whole = timm_network(name.removeprefix(PREFIX)) if timms else torchvision_network(name)
            classifying = whole.to("meta").eval()
            embedding_parameters = parameter_count(encoder)
            forward: Callable[[Tensor], object] = classifying
        else:
            embedding_parameters = parameter_count(encoder) - parameter_count(encoder.classifier)
            forward = encoder.classify
    return ModelSize(
        parameter_count(classifying),
        embedding_parameters,
        multiply_adds(forward, encoder.image_size),
        encoder.image_size,
        encoder.width,
    )


def parameter_count(module: nn.Module) -> int:
    """The number of parameters; shared ones count once."""
    return sum(parameter.numel() for parameter in module.parameters())


def multiply_adds(forward: Callable[[Tensor], object], image_size: int) -> int:
    """Multiply-adds of convolutions and matrix products for one image.

    Biases, normalizations, pools and activations are left out, as is usual.

    Args:
        forward: a network on the meta device, or one of its methods; called once.
        image_size: pixels a side.
    """
    with FlopCounterMode(display=False) as counter:
        forward(torch.empty(1, 3, image_size, image_size, device="meta"))
    return counter.get_total_flops() // 2  # a multiplication and an addition
