"""Fine-tuning a pretrained encoder: its last layer in closed form, its last blocks, or all of it.

Each depth starts where the one before ended: first fit the last layer, then train the last blocks,
then all at a low learning rate.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from vl import bundle as bundles
from vl.data.choices import Depth
from vl.data.images.augmentation import CenterCrop
from vl.data.labelled.dataset import ImageDataset
from vl.data.labelled.loader import ImageBatches
from vl.encoders.bn_inception import BNInception
from vl.encoders.inception import Inception
from vl.encoders.inception_v3 import InceptionV3
from vl.encoders.table import Network, configuration, create_encoder
from vl.encoders.timm_features import TimmFeatures
from vl.encoders.torchvision_features import TorchvisionFeatures
from vl.encoders.weight_files import is_safetensors
from vl.encoding import encoder_file
from vl.encoding.config import EncoderFinetuningConfig
from vl.encoding.embedder import Embedder
from vl.encoding.encoder_file import TrainedEncoder
from vl.encoding.pretrained import encoder_from_bundle, load_encoder, read_model, stored_embedder
from vl.encoding.softmax_regression import cross_validate, softmax_regression
from vl.encoding.task import EncoderTask, pixels_of
from vl.encoding.training import (
    EncoderRun,
    development_validator,
    resumes,
    save_trained,
    train_encoder,
)
from vl.terminal import ProgressBar

_log = logging.getLogger(__name__)
# Half a decade apart, around what suits a dozen images a class.
DECAYS = tuple(10.0 ** (power / 2) for power in range(-10, 1))
_FOLDS = 4


def load_pretrained(path: Path, name: str | None) -> TrainedEncoder:
    """Load an encoder to start from; without classes if its file does not name them.

    Args:
        path: the file of an encoder, captioner or labeller, or published weights, see
            ``load_encoder``.
        name: of the encoder; by default the one in the file, or GoogLeNet for published weights.

    Raises:
        FormatError: the file is none of these, or contains another encoder.
        FileNotFoundError: there is no such file.
    """
    if not (is_safetensors(path) and bundles.is_bundle(path)):
        name = name or "inception_v1"
        return TrainedEncoder(load_encoder(name, path), name, (), {})
    bundle = read_model(path, name)
    if bundle.configuration["kind"] == encoder_file.KIND:
        return encoder_file.load(path)
    return TrainedEncoder(encoder_from_bundle(bundle), stored_embedder(bundle).encoder.name, (), {})


def has_classes(pretrained: TrainedEncoder, classes: Sequence[str], *, all_classes: bool) -> bool:
    """Whether the classifier of a pretrained encoder is of these classes.

    Args:
        pretrained: to start from.
        classes: in the order of a classifier's outputs.
        all_classes: whether a file of classes was given: then a classifier of as many outputs in a
            file that does not name its classes is taken to be of these.
    """
    if tuple(classes) == pretrained.classes:
        return True
    classifier = pretrained.encoder.classifier
    outputs = classifier.out_features if classifier else 0
    return all_classes and not pretrained.classes and outputs == len(classes)


def with_classes(name: str, pretrained: Network, classes: int) -> Network:
    """A copy of an encoder with a randomly initialized classifier of so many classes."""
    config = {**configuration(pretrained), "classes": classes, "auxiliary": False}
    encoder = create_encoder(name, config)
    state = encoder.state_dict()
    state |= {
        key: value
        for key, value in pretrained.state_dict().items()
        if key in state and not key.startswith("classifier.")
    }
    encoder.load_state_dict(state)
    return encoder


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
    body = (
        encoder.body
        if isinstance(encoder, InceptionV3 | TorchvisionFeatures | TimmFeatures)
        else encoder
    )
    heads = (encoder.classifier, getattr(body, "AuxLogits", None))
    blocks = [part for child in body.children() if child not in heads for part in _parts(child)]
    return [block for block in blocks if any(True for _ in block.parameters())]


def _parts(module: nn.Module) -> list[nn.Module]:
    """A sequential module's children, recursively; any other module is one part."""
    if type(module) is not nn.Sequential:  # subclasses may have a forward of their own
        return [module]
    return [part for child in module.children() for part in _parts(child)]


def finetune_encoder(
    pretrained: TrainedEncoder,
    config: EncoderFinetuningConfig,
    run: EncoderRun,
    *,
    all_classes: bool = False,
) -> None:
    """Fine-tune an encoder on images, and save it.

    Args:
        pretrained: see ``load_pretrained``.
        config: of the depth and the training.
        run: see ``train_encoder``; without steps of an optimizer there is no log. The last layer is
            fitted by each of its processes.
        all_classes: see ``has_classes``.

    Raises:
        ValueError: the last layer cannot be fitted, or see ``train_encoder``.
    """
    name, encoder, training = pretrained.name, pretrained.encoder, run.splits.training
    fitted = has_classes(pretrained, training.classes, all_classes=all_classes)
    if not fitted:
        outputs = encoder.classifier.out_features if encoder.classifier else 0
        if all_classes:  # a last layer cannot be fitted for classes without images
            other = f"{outputs} others" if outputs == len(training.classes) else outputs
            raise ValueError(
                f"there are {len(training.classes)} classes, and the pretrained classifier "
                f"is of {other}"
            )
        encoder = with_classes(name, encoder, len(training.classes))
    device, first = run.processes.device, run.processes.first
    if config.depth == "last" and not first:
        return
    if config.depth == "last" or not (fitted or resumes(config, run.output_dir)):
        embedder = Embedder(
            encoder,
            encoder_name=name,
            views=config.views,
            resize=config.resize,
            device=device,
            precision=run.precision,
        )
        fit_last_layer(embedder, training, seed=config.seed, quiet=not first)
    if config.depth != "last":
        unfreeze(encoder, config.depth, blocks=config.blocks)
        train_encoder(name, encoder, config, run, finetuning=True)
        return
    validation = None
    if validate := development_validator(encoder, config, run):
        with torch.no_grad():
            validation = validate(EncoderTask(encoder).to(device).eval())
        _log.info("last layer: %s", validation)
    save_trained(name, encoder, config, run, validation)


def fit_last_layer(
    embedder: Embedder,
    dataset: ImageDataset,
    *,
    seed: int = 0,
    decays: Sequence[float] = DECAYS,
    quiet: bool = False,
) -> None:
    """Replace an encoder's classifier by the softmax regression on its embeddings of images.

    Images that cannot be read are warned of and left out.

    Args:
        embedder: its encoder has a classifier of the images' classes; each view is an example.
        dataset: with labels.
        seed: of the folds by which the weight decay is chosen.
        decays: weight decays to choose from.
        quiet: whether to print and log nothing.

    Raises:
        ValueError: too many images cannot be read, or there are too few to choose a decay.
    """
    encoder, views, resize = embedder.encoder, len(embedder.views), embedder.resize
    assert resize != "encoder"  # EncoderTrainingConfig has none but resize modes
    batches = ImageBatches(
        dataset,
        CenterCrop(embedder.image_size, resize),
        batch_size=embedder.batch_size,
        seed=seed,
    )
    embeddings, labels_of_images = [], []
    with ProgressBar("embed", len(dataset.labels), unit="images", quiet=quiet) as bar:
        for batch in batches.epoch(0):
            if len(batch.labels):
                embeddings.append(embedder.encode(pixels_of(batch.images)).cpu())  # (B, views, D)
                labels_of_images.append(batch.labels)
            bar.advance(len(batch.labels))
    labels = torch.cat(labels_of_images).repeat_interleave(views)
    groups = torch.arange(len(labels)) // views
    examples = torch.cat(embeddings).flatten(0, 1)  # (B views, D)
    assert encoder.classifier is not None
    classes = encoder.classifier.out_features
    decay = decays[0]
    if len(decays) > 1:
        results = cross_validate(
            examples, labels, groups, classes=classes, decays=decays, folds=_FOLDS, seed=seed
        )
        # Cross-entropy rather than accuracy, which many decays share where there are few images.
        decay = min(results, key=lambda result: (result.cross_entropy, -result.decay)).decay
        if not quiet:
            limit = ", at the limit of those tried" if decay in (min(decays), max(decays)) else ""
            _log.info("last layer: weight decay %.1e, chosen on %d folds%s", decay, _FOLDS, limit)
    regression = softmax_regression(examples, labels, classes=classes, decay=decay)
    with torch.no_grad():
        encoder.classifier.weight.copy_(regression.weight)
        encoder.classifier.bias.copy_(regression.bias)
