"""`vl train encoder`: labelled pictures to an encoder that classifies them."""

import hashlib
import logging
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn

from vl.commands.encoder_flags import (
    BUNDLE,
    ENCODER,
    EncoderRun,
    check,
    goes_on,
    recipe_of,
    settings_of,
)
from vl.data.images.augmentation import Augmentation, CenterCrop
from vl.data.labelled.dataset import ImageDataset
from vl.data.labelled.loader import ImageBatches
from vl.devices import resolve_precision
from vl.encoders.table import Network, encoder
from vl.encoding import encoder_file as encoder_bundle
from vl.encoding.classes import read_classes
from vl.encoding.finetuning import load_pretrained, solve_last_layer, unfreeze, with_classes
from vl.encoding.task import Splits, splits
from vl.encoding.training import EncoderTask, make_validator
from vl.training.loop import (
    CheckpointConfig,
    StepConfig,
    Validation,
    ValidationConfig,
    train,
)
from vl.training.optimizers import optimizer, schedule
from vl.training.parallel import Processes, process_group, shard

_log = logging.getLogger(__name__)


def run(flags: EncoderRun) -> int:
    """Train."""
    check(flags)
    with process_group(flags.device) as processes:
        torch.manual_seed(flags.seed)  # the same first weights in every process
        task = splits(
            flags.data,
            flags.development,
            share=flags.development_share,
            seed=flags.seed,
            quiet=not processes.first,
            classes=read_classes(flags.classes) if flags.classes else (),
        )
        begun = _begun(flags, task.training)
        precision = resolve_precision(flags.precision, processes.device)
        if processes.first:
            _log.info(
                "%d pictures of %d classes to train on, %d to judge by; %s",
                len(task.training.labels),
                len(task.training.classes),
                len(task.development.labels) if task.development else 0,
                precision,
            )
        if flags.tune == "last" and not processes.first:
            return 0  # one is enough to solve it
        # A classifier that knows these classes is the one that the rung below ended with.
        if flags.tune == "last" or (flags.tune and not begun.knows and not goes_on(flags)):
            solve_last_layer(
                begun.encoder,
                task.training,
                views=flags.views,
                resize=flags.resize,
                device=processes.device,
                bfloat16=precision == "bfloat16",
                seed=flags.seed,
                quiet=not processes.first,
            )
        if flags.tune == "last":
            model = EncoderTask(begun.encoder).to(processes.device).eval()
            judge = _judge(flags, begun.encoder, task, processes)
            with torch.no_grad():
                judgement = judge(model) if judge else None
            if judgement:
                _log.info("last layer: %s", _figures(judgement))
            _save(flags, begun.name, begun.encoder, task, judgement)
        else:
            _train(flags, begun, task, processes, bfloat16=precision == "bfloat16")
        if processes.first:
            print(flags.out / BUNDLE)
    return 0


class _Begun(NamedTuple):
    """What a training begins with."""

    name: str
    encoder: Network
    knows: bool  # its classifier is of the classes that are trained on


def _begun(flags: EncoderRun, training: ImageDataset) -> _Begun:
    count = len(training.classes)
    if flags.borrowed is None:
        name = flags.encoder or ENCODER
        built = encoder(
            name,
            classes=count,
            auxiliary=flags.auxiliary,
            width_factor=flags.width_factor,
            image_size=flags.image_size,
        )
        return _Begun(name, built, False)
    name, borrowed, classes = load_pretrained(flags.borrowed, flags.encoder)
    if tuple(training.classes) == classes:
        return _Begun(name, borrowed, True)
    if flags.classes:
        outputs = borrowed.classifier.out_features if borrowed.classifier else 0
        if not classes and outputs == count:  # weights alone do not say of what they are
            return _Begun(name, borrowed, True)
        if flags.tune:  # a last layer cannot be solved for classes without a picture
            raise ValueError(
                f"{flags.classes} has {count} classes, and the classifier of {flags.borrowed} is "
                f"of {f'{outputs} others' if outputs == count else outputs}"
            )
    return _Begun(name, with_classes(name, borrowed, count), False)


def _train(
    flags: EncoderRun, begun: _Begun, task: Splits, processes: Processes, *, bfloat16: bool
) -> None:
    built = begun.encoder
    recipe = recipe_of(flags)
    if flags.tune:
        unfreeze(built, flags.tune, blocks=flags.blocks)
    if flags.shared_norms:
        convert: Any = nn.SyncBatchNorm.convert_sync_batchnorm  # it has no annotations
        built = convert(built)
    side = built.image_size
    model = EncoderTask(
        built,
        smoothing=recipe.smoothing,
        mixup=flags.mixup,
        adversarial=flags.adversarial,
        clean_weight=flags.clean_weight,
        frozen_norms=flags.tune == "blocks",
    ).to(processes.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks this form
    batches = ImageBatches(
        task.training,
        Augmentation(
            side, crop_area=(flags.least_area, 1.0), color_jitter=flags.colour, flip=flags.flip
        ),
        batch_size=flags.batch_size,
        seed=flags.seed,
        rank=processes.rank,
        world_size=processes.size,
        num_workers=flags.workers,
    )
    full_model = shard(model, processes) if flags.part_each and processes.size > 1 else None
    if flags.compile:
        model.compile_classifier()
    trained = [each for each in model.parameters() if each.requires_grad]
    per_epoch = math.ceil(len(batches) / flags.accumulate)
    torch.manual_seed(flags.seed + 1 + processes.rank)  # each process its own dropout
    fitted = train(
        model,
        batches,
        optimizer=optimizer(
            flags.optimizer,
            [(trained, recipe.rate)],
            weight_decay=recipe.weight_decay,
            momentum=flags.momentum,
        ),
        schedule=schedule(
            recipe.schedule,
            steps=flags.epochs * per_epoch,
            warmup_steps=round(recipe.warm_up * per_epoch),
            decay_every=max(1, round(recipe.stair_epochs * per_epoch)),
            decay_factor=recipe.stair,
        ),
        epochs=flags.epochs,
        checkpoints=CheckpointConfig(
            flags.out,
            {**settings_of(flags), "hash of names and classes": _hash(task.training)},
            flags.save_seconds,
            goes_on(flags),
        ),
        steps=StepConfig(
            processes,
            gradient_accumulation=flags.accumulate,
            grad_clip=flags.clip,
            bfloat16=bfloat16,
            ema_decay=recipe.average or None,
            local_steps=flags.local_steps,
            full_model=full_model,
        ),
        validation=ValidationConfig(
            _judge(flags, built, task, processes),
            lambda model, result: _save(flags, begun.name, model.encoder, task, result),
            flags.patience,
        ),
    )
    if processes.first and fitted.best:
        best = _figures(fitted.best)
        _log.info("best of %d epochs: %d  %s", fitted.epochs, fitted.best_epoch, best)


def _hash(pictures: ImageDataset) -> str:
    """Of what is trained on, so that a run is not resumed with other pictures or labels."""
    said = hashlib.sha256()
    for texts in (pictures.names, pictures.classes, map(str, pictures.labels)):
        said.update("\0".join(texts).encode("utf-8", "surrogateescape") + b"\1")
    return said.hexdigest()[:16]


def _figures(judgement: Validation) -> str:
    return "  ".join(f"{key} {value:.1f}" for key, value in judgement.metrics.items())


def _judge(
    flags: EncoderRun, built: Network, task: Splits, processes: Processes
) -> Callable[[EncoderTask], Validation] | None:
    if task.development is None:
        return None
    # By the first process alone, in batches of one size whatever the training's is.
    plain = CenterCrop(built.image_size, flags.resize)
    batches = ImageBatches(task.development, plain, batch_size=32, max_corrupt=1.0)
    return make_validator(batches, device=processes.device)


def _save(
    flags: EncoderRun, name: str, built: Network, task: Splits, judgement: Validation | None
) -> None:
    told = {
        "settings": settings_of(flags),
        "pictures": len(task.training.labels),
        "development": judgement.metrics if judgement else None,
    }
    trained = encoder_bundle.TrainedEncoder(built, name, tuple(task.training.classes), told)
    encoder_bundle.save(flags.out / BUNDLE, trained)
