"""Fine-tuning's ladder: which parts of a borrowed encoder are trained on new pictures.

Borrow it as it is; train the last layer, which is solved and not stepped towards; the last blocks;
all of it at a small rate. Each rung begins where the one below it ended.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from vl import bundle
from vl.data.choices import Resize
from vl.data.errors import FormatError
from vl.data.images.augmentation import CenterCrop
from vl.data.labelled.dataset import ImageDataset
from vl.data.labelled.loader import ImageBatches
from vl.encoders.bn_inception import BNInception
from vl.encoders.inception import Inception
from vl.encoders.inception_v3 import InceptionV3
from vl.encoders.table import Configuration, Network, TorchvisionFeatures, configuration, encoder
from vl.encoding import encoder_file as encoder_bundle
from vl.encoding.embedder import Embedder
from vl.encoding.pretrained import encoder_name_of, encoder_of, load_encoder
from vl.encoding.softmax_regression import chosen_decay, softmax_regression
from vl.encoding.training import pixels_of
from vl.terminal import ProgressBar

_log = logging.getLogger(__name__)
Depth = Literal["last", "blocks", "all"]
# Half a decade apart, around what photographs by the dozen a class like.
DECAYS = tuple(10.0 ** (power / 2) for power in range(-10, 1))
_FOLDS = 4


def load_pretrained(path: Path, name: str | None) -> tuple[str, Network, tuple[str, ...]]:
    """An encoder to begin with: its name, itself, and its classes where the file says them.

    Args:
        path: the bundle of an encoder, a captioner or a labeller, or BVLC's blobs.
        name: of the encoder; None takes the one in the bundle, or GoogLeNet for BVLC's blobs.

    Raises:
        FormatError: the file is none of these, or holds another encoder.
        FileNotFoundError: there is no such file.
    """
    if not bundle.is_bundle(path):
        name = name or "inception_v1"
        return name, load_encoder(name, path), ()
    held = bundle.read(path, kind=("encoder", "captioner", "labeller"))
    found = encoder_name_of(held)
    if name not in (None, found):
        raise FormatError(path, f"holds an encoder {found!r}, not {name!r}")
    if held.configuration["kind"] != encoder_bundle.KIND:
        return found, encoder_of(held), ()
    trained = encoder_bundle.load(path)
    return found, trained.encoder, trained.classes


def with_classes(name: str, borrowed: Network, classes: int) -> Network:
    """The same encoder with a new classifier for so many classes, all else as it was.

    Args:
        name: of the encoder.
        borrowed: not written into.
        classes: outputs of the classifier, whose weights are random.
    """
    told: Configuration = {**configuration(borrowed), "classes": classes, "auxiliary": False}
    built = encoder(name, **told)
    held = built.state_dict()
    given = {
        key: value
        for key, value in borrowed.state_dict().items()
        if key in held and not key.startswith("classifier.")
    }
    built.load_state_dict({**held, **given})
    return built


def blocks_of(built: Network) -> list[nn.Module]:
    """The parts of an encoder from its first to its last, without its classifier.

    Those of Inception networks are the stem and the modules, those of others what they are made of,
    sequences taken apart. Of torchvision's transformers all layers are one block.
    """
    if isinstance(built, Inception | BNInception):
        return [built.stem, *built.inception.values()]
    body = built.body if isinstance(built, InceptionV3 | TorchvisionFeatures) else built
    heads = (built.classifier, getattr(body, "AuxLogits", None))
    parts = [part for child in body.children() if child not in heads for part in _pieces(child)]
    return [part for part in parts if any(True for _ in part.parameters())]


def unfreeze(built: Network, rung: Depth, *, blocks: int) -> None:
    """Let gradients flow to the classifier and to what a rung trains, and to nothing else.

    Args:
        built: with a classifier.
        rung: ``"last"`` trains the classifier alone.
        blocks: how many of the last ones ``"blocks"`` trains.

    Raises:
        ValueError: there are not so many.
    """
    parts = blocks_of(built)
    if rung == "blocks" and not 1 <= blocks <= len(parts):
        raise ValueError(f"blocks is {blocks}; this encoder has {len(parts)}")
    built.requires_grad_(rung == "all")
    if rung == "blocks":
        for part in parts[-blocks:]:
            part.requires_grad_(True)
    assert built.classifier is not None
    built.classifier.requires_grad_(True)


def solve_last_layer(
    built: Network,
    pictures: ImageDataset,
    *,
    views: Sequence[str],
    resize: Resize,
    device: torch.device,
    bfloat16: bool = False,
    seed: int = 0,
    decays: Sequence[float] = DECAYS,
    quiet: bool = False,
) -> None:
    """Fill an encoder's classifier with the softmax regression on its embeddings of pictures.

    Args:
        built: its classifier has an output for each class; it is put into evaluation mode on the
            device.
        pictures: labelled; those that cannot be read are warned of and left out.
        views: what of each picture is encoded, by name in ``vl.encoding.embedder.VIEWS``.
        resize: how a picture becomes a square, as for judging.
        device: where the encoder runs.
        bfloat16: of the encoder's arithmetic.
        seed: of the folds by which the weight decay is chosen.
        decays: to choose from.
        quiet: say nothing.

    Raises:
        ValueError: too many cannot be read, or there are too few to choose a decay by.
    """
    embedder = Embedder(
        built,
        encoder_name="",
        views=views,
        resize=resize,
        device=device,
        precision="bfloat16" if bfloat16 else "float32",
    )
    batches = ImageBatches(
        pictures, CenterCrop(built.image_size, resize), batch_size=embedder.batch_size, seed=seed
    )
    vectors, truth = [], []
    with ProgressBar("embed", len(pictures.labels), unit="images", quiet=quiet) as bar:
        for batch in batches.epoch(0):
            if len(batch.labels):
                vectors.append(embedder.encode(pixels_of(batch.images)).cpu())  # (B, views, width)
                truth.append(batch.labels)
            bar.advance(len(batch.labels))
    labels = torch.cat(truth).repeat_interleave(len(views))
    groups = torch.arange(len(labels)) // len(views)
    images = torch.cat(vectors).flatten(0, 1)  # (N views, width)
    assert built.classifier is not None
    classes = built.classifier.out_features
    decay = decays[0]
    if len(decays) > 1:
        decay = chosen_decay(
            images, labels, groups, classes=classes, decays=decays, folds=_FOLDS, seed=seed
        )
        if not quiet:
            edge = ", at the edge of those tried" if decay in (min(decays), max(decays)) else ""
            _log.info("last layer: weight decay %.1e, chosen on %d folds%s", decay, _FOLDS, edge)
    found = softmax_regression(images, labels, classes=classes, decay=decay)
    with torch.no_grad():
        built.classifier.weight.copy_(found.weight)
        built.classifier.bias.copy_(found.bias)


def _pieces(part: nn.Module) -> list[nn.Module]:
    """A sequence's parts, and those of the sequences in it; anything else is one."""
    if type(part) is not nn.Sequential:  # what is made from it has an idea of its own
        return [part]
    return [piece for child in part.children() for piece in _pieces(child)]


def unfreeze_used_parameters(encoder: Network) -> None:
    """Let gradients flow to what the embedding depends on, and to nothing else.

    DistributedDataParallel waits for a gradient of every parameter that wants one.
    """
    parameters = list(encoder.requires_grad_(True).eval().parameters())
    answer = encoder(torch.zeros(1, 3, encoder.image_size, encoder.image_size))
    gradients = torch.autograd.grad(answer.sum(), parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.requires_grad_(gradient is not None)
    encoder.to(memory_format=torch.channels_last)
