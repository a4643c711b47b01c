"""Flags that `vl train encoder` and `vl finetune encoder` share, and how both start."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from vl.commands.options import DeviceOptions
from vl.data.bounds import HeldOutFraction, InputFile, InputPath
from vl.data.choices import AutoPrecision
from vl.data.outputs import training_folder
from vl.data.words.label_tables import LabelColumns
from vl.encoding.config import EncoderTrainingConfig

if TYPE_CHECKING:
    from vl.encoding.training import EncoderRun


@dataclass(frozen=True, kw_only=True)
class EncoderDataFlags(DeviceOptions, EncoderTrainingConfig, LabelColumns):
    """Where images come from, where the encoder goes, and how it is trained."""

    data: tyro.conf.Positional[InputPath]
    """A folder with a folder for each class, a list of image, tab, class, or shards."""
    output_dir: Annotated[Path, training_folder("encoder.safetensors", "encoder")]
    """Folder for encoder.safetensors; with steps of an optimizer also for log.jsonl, the checkpoint
    and TensorBoard's files."""
    encoder: str | None = None
    """Name of the encoder, see `vl encoders`; by default that of --pretrained, or
    inception_v1_bn."""
    classes: InputFile | None = None
    """The classifier's classes, one a line, if DATA has only some of them."""
    development: InputPath | None = None
    """Images to validate on after each epoch, in the form of DATA; the best weights are saved."""
    development_share: HeldOutFraction = 0.0
    """Or a share of each class of DATA to validate on."""
    precision: AutoPrecision = "float32"
    """Of the forward pass; auto is bfloat16 if this machine is faster at it."""


@contextmanager
def started(flags: EncoderDataFlags, *, steps: bool = True) -> "Iterator[EncoderRun]":
    """Check flags, join the other processes, seed, and open the images; at the end print the file.

    Args:
        flags: of the command.
        steps: whether an optimizer takes steps, so that a run can be resumed.

    Raises:
        ValueError: flags exclude each other, or the output folder has an encoder or a run.
        FileNotFoundError: there is no run to resume.
    """
    import logging

    import torch

    from vl.devices import resolve_precision
    from vl.encoding.classes import read_classes
    from vl.encoding.training import FILE_NAME, EncoderRun, open_splits
    from vl.training.parallel import process_group

    _check(flags, steps=steps)
    with process_group(flags.device, flags.output_dir) as processes:
        torch.manual_seed(flags.seed)  # the same initial weights in all processes
        splits = open_splits(
            flags.data,
            flags.development,
            development_share=flags.development_share,
            seed=flags.seed,
            quiet=not processes.first,
            classes=read_classes(flags.classes, flags) if flags.classes else (),
        )
        precision = resolve_precision(flags.precision, processes.device)
        if processes.first:
            logging.getLogger(__name__).info(
                "%d images of %d classes to train on, %d to validate on; %s",
                len(splits.training.labels),
                len(splits.training.classes),
                len(splits.development.labels) if splits.development else 0,
                precision,
            )
        yield EncoderRun(splits, flags.output_dir, processes, precision)
        if processes.first:
            print(flags.output_dir / FILE_NAME)


def _check(flags: EncoderDataFlags, *, steps: bool) -> None:
    from vl.devices import resolve_device
    from vl.encoding.training import FILE_NAME, resumes
    from vl.training import checkpoint

    if flags.development and flags.development.resolve() == flags.data.resolve():
        raise ValueError("--development has the training images; validate on others")
    if flags.development and flags.development_share:
        raise ValueError("give either --development or --development-share")
    validation = bool(flags.development or flags.development_share)
    flags.check(validation=validation, device=resolve_device(flags.device).type)
    output = flags.output_dir
    # A run with steps has a log before it has an encoder.
    if (output / FILE_NAME).exists() and not (steps and (output / "log.jsonl").exists()):
        raise ValueError(f"{output} already contains an encoder; choose another folder")
    checkpoint.check_folder(output, resume=resumes(flags, output))
