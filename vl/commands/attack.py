"""`vl attack`: adversarial images, and a model's output before and after the attack."""

import json
import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from vl.commands.options import DeviceOptions, OutputOptions
from vl.data.bounds import InputFile, OutputFolder, OutputPng, PositiveInt, Probability
from vl.data.choices import Resize
from vl.data.outputs import check_no_inputs, check_outside
from vl.data.words.label_tables import LabelColumns

if TYPE_CHECKING:
    from vl.attacks.sheet import Row  # needs PyTorch

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AttackRun(OutputOptions, DeviceOptions, LabelColumns):
    """Attack images with the fast gradient sign method, and write the adversarial images.

    Prints three tab-separated lines an image: path, stage, the model's output, its confidence in
    that output, its confidence in what the attack raises or lowers, and whether the attack
    succeeded. The stages are clean, adversarial, and saved: the adversarial image read back from
    its 8-bit file. Untargeted attacks lower the confidence in the model's clean output; targeted
    ones raise that in --target. Confidence is a labeller's probability, or the cosine if it is not
    calibrated; an encoder's class probability; a captioner's log-probability.
    """

    paths: tyro.conf.Positional[list[Path]]
    """Images, folders of images, or - for a list of paths on stdin."""
    model: InputFile
    """File of a labeller, a captioner or a trained encoder."""
    output_dir: OutputFolder
    """Folder for the adversarial images, .png at the model's input size."""
    target: str | None = None
    """Label, class or sentence to aim at; untargeted by default."""
    labels: str | None = None
    """Candidate labels of a labeller: separated by commas, or a file, as in `vl label`."""
    resize: Resize | None = None
    """Resize mode of an encoder, as in `vl evaluate-encoder`; center-crop by default."""
    epsilon: Probability = 0.007
    """Maximum change of a pixel value, of a range of 1 (Goodfellow et al. 2015)."""
    steps: PositiveInt = 1
    """Gradient sign steps: 1 is the fast gradient sign method, more the basic iterative method."""
    step_size: Probability | None = None
    """Size of a step, of a range of 1; by default 2.5 epsilon / steps, at most epsilon."""
    contact_sheet: OutputPng | None = None
    """Write a .png of the first 20 images: clean, amplified difference, adversarial."""
    json: bool = False
    """Print one JSON line an image, with all three stages."""
    batch_size: PositiveInt = 8
    """Images a batch."""


def run(flags: AttackRun) -> int:
    """Attack; 1 if an image could not be read."""
    from vl import devices
    from vl.attacks import sheet
    from vl.attacks.attack import AttackConfig
    from vl.attacks.images import STAGES, attack_images, output_files
    from vl.attacks.targets import load_target_model
    from vl.inputs import error_message, find_inputs
    from vl.terminal import ProgressBar, print_line

    check_outside(flags.output_dir, flags.paths)
    config = AttackConfig(flags.epsilon, flags.steps, flags.step_size)
    inputs = find_inputs(flags.paths)
    if flags.contact_sheet:
        check_no_inputs([flags.contact_sheet], inputs.files)
    files = output_files(inputs.files, flags.output_dir, overwrite=flags.overwrite)
    if flags.contact_sheet and flags.contact_sheet.resolve() in {file.resolve() for file in files}:
        raise ValueError(f"{flags.contact_sheet} is an adversarial image; choose another name")
    model = load_target_model(
        flags.model,
        labels=flags.labels,
        columns=flags,
        resize=flags.resize,
        device=devices.resolve_device(flags.device),
    )
    target = None if flags.target is None else model.target(flags.target)
    flags.output_dir.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    images, failures, successes = 0, len(inputs.failures), dict.fromkeys(STAGES, 0)
    with ProgressBar("attack", len(files), unit="images") as bar:
        for failure in inputs.failures:
            bar.print(error_message(failure))
        for image in attack_images(
            model, inputs.files, files, config, target=target, batch_size=flags.batch_size
        ):
            bar.advance()
            if isinstance(image, Exception):
                failures += 1
                bar.print(error_message(image))
                continue
            images += 1
            if flags.json:
                print(json.dumps(image.record(config, target)))
            else:
                for line in image.lines():
                    print_line(line)
            sys.stdout.flush()  # a reader of the pipe need not wait for the next images
            for stage, result in zip(STAGES, image.stages, strict=True):
                successes[stage] += result.success
            if flags.contact_sheet and len(rows) < sheet.MAX_ROWS:
                rows.append(image.sheet_row(target))
    if failures:
        _log.info("%d of %d inputs failed", failures, images + failures)
    _log.info(
        "attack succeeded on %d of %d images, %d after saving as 8-bit files",
        successes["adversarial"],
        images,
        successes["saved"],
    )
    if target and successes["clean"]:
        _log.info("%d clean images had the output %r already", successes["clean"], target.text)
    written = not flags.contact_sheet or _write_sheet(flags.contact_sheet, rows, images)
    return 0 if written and not failures else 1


def _write_sheet(path: Path, rows: "list[Row]", images: int) -> bool:
    """Write the contact sheet; False without an image."""
    from vl.attacks import sheet
    from vl.data.files import escape_unprintable

    if not rows:
        _log.warning("no image could be read; %s is not written", path)
        return False
    factor = sheet.write(path, rows)
    name = escape_unprintable(str(path))
    _log.info("%d images in %s, differences amplified %d times", len(rows), name, factor)
    if images > len(rows):
        _log.info("%d more images are not on it", images - len(rows))
    return True
