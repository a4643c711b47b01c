"""How large an encoder is, and how many multiply-adds one image costs it; nothing is computed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.utils.flop_counter import FlopCounterMode

from vl.encoders.table import encoder, whole_torchvision_network


class ModelSize(NamedTuple):
    """Of an encoder with its classifier and without auxiliary heads."""

    parameters: int
    embedding_parameters: int  # those that the embedding needs: all but the classifier's
    multiply_adds: int  # of one image at the encoder's image size
    image_size: int  # pixels a side
    width: int  # of the embedding


def model_size(name: str, *, classes: int | None = None, width_factor: float = 1.0) -> ModelSize:
    """Count an encoder of the table, with its classifier as published unless told otherwise.

    Args:
        name: in the table.
        classes: as ``encoder`` takes it.
        width_factor: as ``encoder`` takes it.

    Raises:
        ValueError: as ``encoder``.
    """
    with on_meta():
        built = encoder(name, classes=classes, width_factor=width_factor).to("meta").eval()
        if built.classifier is None:
            whole = whole_torchvision_network(name).to("meta").eval()
            embedding_parameters = parameter_count(built)
            answer: Callable[[Tensor], object] = whole
        else:
            whole = built
            embedding_parameters = parameter_count(built) - parameter_count(built.classifier)
            answer = built.classify
    return ModelSize(
        parameter_count(whole),
        embedding_parameters,
        multiply_adds(answer, built.image_size),
        built.image_size,
        built.width,
    )


def parameter_count(module: nn.Module) -> int:
    """How many numbers of the module are learnt; one that has two names counts once."""
    return sum(parameter.numel() for parameter in module.parameters())


def multiply_adds(answer: Callable[[Tensor], object], image_size: int) -> int:
    """The multiply-adds of convolutions and of products of matrices, for one image.

    Additions of biases, norms, pools and squashing functions are not among them, as usual.

    Args:
        answer: a network on the meta device, or one of its methods; called once.
        image_size: pixels a side.
    """
    with FlopCounterMode(display=False) as counter:
        answer(torch.empty(1, 3, image_size, image_size, device="meta"))
    return counter.get_total_flops() // 2  # a multiplication and an addition


@contextmanager
def on_meta() -> Iterator[None]:
    """Networks built in here know their shapes and have no numbers, so that they are there at once.

    ``torch.device("meta")`` would be plainer, but torchvision's regnets compute their widths with
    tensors, which then have no numbers either.
    """

    def emptied(
        module: nn.Module, name: str, parameter: nn.Parameter | None
    ) -> nn.Parameter | None:
        if parameter is None:
            return None
        return nn.Parameter(parameter.to("meta"), requires_grad=parameter.requires_grad)

    # The hook may answer, though its annotation in PyTorch says None.
    handle = register_module_parameter_registration_hook(emptied)  # type: ignore[arg-type]
    try:
        yield
    finally:
        handle.remove()
