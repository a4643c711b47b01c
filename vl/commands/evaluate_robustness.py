"""`vl evaluate-robustness`: a trained encoder's error rate under attack."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from vl.commands.options import DeviceOptions
from vl.data.bounds import InputFile, PositiveInt, Probability
from vl.data.choices import Resize
from vl.version import __version__


@dataclass(frozen=True)
class RobustnessEvaluation(DeviceOptions):
    """Evaluate a trained encoder under attack: error rate and confidence on labelled images.

    Clean images, the fast gradient sign method and its iterated form; the attacks raise the loss of
    the true classes (Goodfellow et al. 2015).
    """

    paths: tyro.conf.Positional[list[Path]]
    """Folders with a folder for each class, or lists of an image, a tab and its class."""
    model: InputFile
    """File of a trained encoder."""
    resize: Resize | None = None
    """Resize mode, as in `vl evaluate-encoder`."""
    epsilon: Annotated[tuple[Probability, ...], tyro.conf.arg(metavar="EPSILON ...")] = (0.007,)
    """Maximum changes of a pixel value, of a range of 1."""
    steps: PositiveInt = 10
    """Steps of the iterated form; 1 leaves it out."""
    step_size: Probability | None = None
    """Size of a step of the iterated form, of a range of 1; by default 2.5 epsilon / steps, at most
    epsilon."""
    json: bool = False
    """Print one JSON line instead of a table."""
    batch_size: PositiveInt = 8
    """Images a batch."""


def run(flags: RobustnessEvaluation) -> int:
    """Evaluate; 1 if an image could not be read."""
    if flags.step_size is not None and flags.steps == 1:
        raise ValueError("--step-size is of the iterated form, which --steps 1 leaves out")
    from vl import devices
    from vl.attacks.robustness import attack_grid, evaluate_robustness, robustness_table
    from vl.attacks.targets import TargetClassifier
    from vl.encoders.weights import fingerprint
    from vl.encoding import encoder_file
    from vl.inputs import find_labelled_images
    from vl.terminal import print_line

    attacks = attack_grid(flags.epsilon, steps=flags.steps, step_size=flags.step_size)
    images = find_labelled_images(flags.paths)
    trained = encoder_file.load(flags.model)
    model = TargetClassifier(
        trained, resize=flags.resize, device=devices.resolve_device(flags.device)
    )
    results = evaluate_robustness(model, images, attacks, batch_size=flags.batch_size)
    failures = len(images) - results[0].images
    signature = (
        f"{trained.name} | {len(trained.classes)} classes | resize {model.resize} | "
        f"true classes attacked | float32 | vl {__version__}"
    )
    if flags.json:
        record = {
            "signature": signature,
            "model": {"file": str(flags.model), "fingerprint": fingerprint(model.encoder)},
            "failures": failures,
            "results": [result.record() for result in results],
        }
        print_line(json.dumps(record, ensure_ascii=False))
    else:
        for line in (*robustness_table(results), signature):
            print_line(line)
        if failures:
            print_line(f"{failures} images could not be read and are not counted")
    return 1 if failures else 0
