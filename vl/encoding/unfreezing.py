"""Which parts of an encoder are fine-tuned: its blocks, and what requires gradients."""

from torch import nn

from vl.data.choices import Depth
from vl.encoders.bn_inception import BNInception
from vl.encoders.inception import Inception
from vl.encoders.inception_v3 import InceptionV3
from vl.encoders.table import Network
from vl.encoders.torchvision_features import TorchvisionFeatures


def unfreeze(encoder: Network, depth: Depth, *, blocks: int) -> None:
    """Require gradients of the classifier and of what is fine-tuned, and of nothing else.

    Args:
        encoder: with a classifier.
        depth: ``"last"`` is the classifier alone.
        blocks: number of last blocks for ``"blocks"``.

    Raises:
        ValueError: there are fewer blocks.
    """
    all_blocks = blocks_of(encoder)
    if depth == "blocks" and not 1 <= blocks <= len(all_blocks):
        raise ValueError(f"blocks is {blocks}; this encoder has {len(all_blocks)}")
    encoder.requires_grad_(depth == "all")
    if depth == "blocks":
        for block in all_blocks[-blocks:]:
            block.requires_grad_(True)
    assert encoder.classifier is not None
    encoder.classifier.requires_grad_(True)


def blocks_of(encoder: Network) -> list[nn.Module]:
    """The blocks of an encoder from input to output, without its classifier.

    Of Inception networks the stem and the modules, of others their children, with sequential ones
    taken apart. All layers of torchvision's transformers are one block.
    """
    if isinstance(encoder, Inception | BNInception):
        return [encoder.stem, *encoder.inception.values()]
    body = encoder.body if isinstance(encoder, InceptionV3 | TorchvisionFeatures) else encoder
    heads = (encoder.classifier, getattr(body, "AuxLogits", None))
    blocks = [part for child in body.children() if child not in heads for part in _parts(child)]
    return [block for block in blocks if any(True for _ in block.parameters())]


def _parts(module: nn.Module) -> list[nn.Module]:
    """A sequential module's children, recursively; any other module is one part."""
    if type(module) is not nn.Sequential:  # subclasses may have a forward of their own
        return [module]
    return [part for child in module.children() for part in _parts(child)]
