"""Encoder training: data, loss, validation, and the run that leaves the best encoder in a file."""

import hashlib
import logging
import math
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from vl.data.choices import Precision
from vl.data.images.augmentation import Augmentation, CenterCrop
from vl.data.labelled.dataset import DatasetSubset, ImageDataset, open_dataset, split_dataset
from vl.data.labelled.loader import ImageBatches, LoaderConfig
from vl.encoders.table import Network
from vl.encoding import encoder_file
from vl.encoding.accuracy import TOP, HitCounts, rank_classes
from vl.encoding.classes import class_indices
from vl.encoding.config import EncoderTrainingConfig, Recipe
from vl.encoding.encoder_file import TrainedEncoder
from vl.encoding.task import EncoderTask, pixels_of
from vl.training.checkpoint import run_settings
from vl.training.loop import CheckpointConfig, StepConfig, ValidationConfig, train
from vl.training.optimizers import (
    Schedule,
    check_staircase,
    fitting_warmup,
    optimizer,
    schedule,
)
from vl.training.parallel import Processes, restarts, shard
from vl.training.selection import Validation, warn_of_few

FILE_NAME = "encoder.safetensors"  # of the result, in the output folder
_WARMUP_SHARE = 1 / 6  # of a run, at most: 5 of 30 epochs
_log = logging.getLogger(__name__)


class Splits(NamedTuple):
    """Images of the same classes."""

    training: ImageDataset
    development: ImageDataset | None  # to validate on


class EncoderRun(NamedTuple):
    """What an encoder is trained on, and where."""

    splits: Splits
    output_dir: Path  # gets encoder.safetensors, the log and the checkpoint
    processes: Processes  # that train together
    precision: Precision  # of the forward pass


def train_encoder(
    name: str,
    encoder: Network,
    config: EncoderTrainingConfig,
    run: EncoderRun,
    *,
    finetuning: bool = False,
) -> None:
    """Train an encoder and save it after each epoch that is the best so far.

    Args:
        name: see ``create_encoder``.
        encoder: parameters that require gradients are trained, and batch normalization is frozen
            if some do not; its classifier has the classes of the images.
        config: how it is trained.
        run: the images, and the folder of the results.
        finetuning: whether the recipe is that of fine-tuning.

    Raises:
        ValueError: the folder has a run and it is not resumed, or the training diverges.
    """
    processes = run.processes
    recipe = config.resolved_recipe(finetuning=finetuning)
    if config.sync_batch_norm:
        encoder = nn.SyncBatchNorm.convert_sync_batchnorm(encoder)  # type: ignore[no-untyped-call]  # torch's
    task = EncoderTask(
        encoder,
        label_smoothing=recipe.label_smoothing,
        mixup=config.mixup,
        adversarial_epsilon=config.adversarial_epsilon,
        clean_weight=config.clean_weight,
        freeze_norms=not all(parameter.requires_grad for parameter in encoder.parameters()),
    ).to(processes.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks this form
    batches = _training_batches(encoder.image_size, config, run)
    full_model = shard(task, processes) if config.fsdp and processes.size > 1 else None
    if config.compile:
        task.compile_classifier()
    parameters = [parameter for parameter in task.parameters() if parameter.requires_grad]
    if run.splits.development is not None and processes.first:
        warn_of_few(len(run.splits.development.labels), "images")
    torch.manual_seed(config.seed + 1 + processes.rank)  # of dropout, different in each process
    train(
        task,
        batches,
        optimizer=optimizer(
            config.optimizer,
            [(parameters, recipe.learning_rate)],
            weight_decay=recipe.weight_decay,
            momentum=config.momentum,
        ),
        schedule=_schedule(
            recipe,
            config,
            math.ceil(len(batches) / config.gradient_accumulation),
            quiet=not processes.first,
        ),
        epochs=config.epochs,
        checkpoints=CheckpointConfig(
            run.output_dir,
            {**run_settings(config), "data hash": _data_hash(run.splits.training)},
            config.checkpoint_seconds,
            resumes(config, run.output_dir),
        ),
        steps=StepConfig(
            processes,
            gradient_accumulation=config.gradient_accumulation,
            grad_clip=config.grad_clip,
            bfloat16=run.precision == "bfloat16",
            ema_decay=recipe.ema_decay or None,
            local_steps=config.local_steps,
            full_model=full_model,
        ),
        validation=ValidationConfig(
            development_validator(encoder, config, run),
            lambda task, validation: save_trained(name, task.encoder, config, run, validation),
            config.patience,
        ),
    )


def resumes(config: EncoderTrainingConfig, output_dir: Path) -> bool:
    """Whether a training continues from a checkpoint; torchrun restarts with the same flags."""
    return config.resume or (restarts() > 0 and (output_dir / "state.pt").exists())


def open_splits(
    data: Path,
    development: Path | None = None,
    *,
    development_share: float = 0.0,
    seed: int = 0,
    classes: Sequence[str] = (),
    quiet: bool = False,
) -> Splits:
    """Open the images to train on and to validate on; what is left out is logged.

    Args:
        data: see ``open_dataset``.
        development: images to validate on; their classes are matched by name.
        development_share: or a share of each class of ``data``; 0 for none.
        seed: of that split.
        classes: of the classifier, if ``data`` has only some of them, see ``class_indices``.
        quiet: whether to log nothing.

    Raises:
        ValueError: there are fewer than two classes, or a class of one data set is missing from the
            other or from ``classes``; or see ``open_dataset`` and ``split_dataset``.
        OSError: a data set is missing or cannot be read.
    """
    dataset: ImageDataset = open_dataset(data)
    notes = list(dataset.warnings)
    if classes:
        dataset = _with_classes(dataset, classes)
    if len(dataset.classes) < 2:
        raise ValueError(f"{data} has one class; at least two are needed")
    training, validation = dataset, None
    if development_share:
        training, validation = split_dataset(dataset, development_share, seed=seed)
    if development:
        other = open_dataset(development)
        notes += other.warnings
        unknown = [name for name in other.classes if name not in set(dataset.classes)]
        if unknown and not classes:
            raise ValueError(
                f"{development}: {len(unknown)} classes are not in {data}, the first {unknown[0]!r}"
            )
        validation = _with_classes(other, dataset.classes)
    if not quiet:
        for note in notes:
            _log.warning("%s", note)
    return Splits(training, validation)


def development_validator(
    encoder: Network, config: EncoderTrainingConfig, run: EncoderRun
) -> Callable[[EncoderTask], Validation] | None:
    """A validation on the development images; None without any."""
    if run.splits.development is None:
        return None
    # In the first process alone, in batches of one size whatever that of the training is.
    transform = CenterCrop(encoder.image_size, config.resize)
    batches = ImageBatches(
        run.splits.development, transform, batch_size=32, config=LoaderConfig(max_corrupt=1.0)
    )
    return make_validator(batches, device=run.processes.device)


def make_validator(
    batches: ImageBatches, *, device: torch.device | str
) -> Callable[[EncoderTask], Validation]:
    """A validation by top-1 accuracy in percent, and by the cross-entropy where that is equal.

    Top-5 accuracy, which is 100 by construction up to five classes, is measured from six on.
    """

    def validate(task: EncoderTask) -> Validation:
        assert task.encoder.classifier is not None  # see EncoderTask
        counts, loss = HitCounts(task.encoder.classifier.out_features), 0.0
        for images, labels in batches.epoch(0):
            if len(labels):
                logits = task.encoder.classify(pixels_of(images.to(device))).main.cpu()
                counts.add(rank_classes(logits), labels)  # (B, classes)
                loss += float(F.cross_entropy(logits.float(), labels, reduction="sum"))
        num_images, top_1, top_5 = counts.totals()
        if not num_images:
            raise ValueError("no image to validate on can be read")
        metrics = {"top-1": 100 * top_1 / num_images}
        if task.encoder.classifier.out_features > TOP:
            metrics["top-5"] = 100 * top_5 / num_images
        return Validation(metrics["top-1"], metrics, loss / num_images, score_counts=top_1 > 0)

    return validate


def save_trained(
    name: str,
    encoder: Network,
    config: EncoderTrainingConfig,
    run: EncoderRun,
    validation: Validation | None,
) -> None:
    """Write an encoder with its classes and a description of its training."""
    training = {
        "settings": run_settings(config),
        "images": len(run.splits.training.labels),
        "development": validation.metrics if validation else None,
    }
    classes = tuple(run.splits.training.classes)
    encoder_file.save(run.output_dir / FILE_NAME, TrainedEncoder(encoder, name, classes, training))


def _training_batches(
    image_size: int, config: EncoderTrainingConfig, run: EncoderRun
) -> ImageBatches:
    augmentation = Augmentation(
        image_size,
        crop_area=(config.min_crop_area, 1.0),
        color_jitter=config.color_jitter,
        flip=config.flip_probability,
    )
    return ImageBatches(
        run.splits.training,
        augmentation,
        batch_size=config.batch_size,
        seed=config.seed,
        rank=run.processes.rank,
        world_size=run.processes.size,
        config=LoaderConfig(num_workers=config.num_workers),
    )


def _schedule(
    recipe: Recipe, config: EncoderTrainingConfig, epoch_steps: int, *, quiet: bool
) -> Schedule:
    warmup_epochs = fitting_warmup(
        config.warmup_epochs,
        recipe.warmup_epochs,
        length=config.epochs,
        share=_WARMUP_SHARE,
        unit="epochs",
        quiet=quiet,
    )
    if not quiet:
        check_staircase(recipe.schedule, recipe.decay_every, epochs=config.epochs)
    return schedule(
        recipe.schedule,
        steps=config.epochs * epoch_steps,
        warmup_steps=round(warmup_epochs * epoch_steps),
        decay_every=max(1, round(recipe.decay_every * epoch_steps)),
        decay_factor=recipe.decay_factor,
    )


def _with_classes(dataset: ImageDataset, classes: Sequence[str]) -> DatasetSubset:
    """The same images with labels among more classes."""
    index_of = class_indices(dataset.classes, classes)
    labels = array("q", (index_of[dataset.classes[label]] for label in dataset.labels))
    return DatasetSubset(dataset, range(len(labels)), labels=labels, classes=classes)


def _data_hash(dataset: ImageDataset) -> str:
    """Of names and labels, so that a run is not resumed with other images."""
    digest = hashlib.sha256()
    for texts in (dataset.names, dataset.classes, map(str, dataset.labels)):
        digest.update("\0".join(texts).encode("utf-8", "surrogateescape") + b"\1")
    return digest.hexdigest()[:16]
