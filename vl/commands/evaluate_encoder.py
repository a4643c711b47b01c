"""`vl evaluate-encoder`: top-1 and top-5 accuracy of encoders with a classifier."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from vl.commands.options import DeviceOptions, OutputOptions
from vl.data.bounds import InputFile, InputPath, NonNegativeInt, OutputPng, PositiveInt
from vl.data.choices import AutoEngine, AutoPrecision, CropCount, Resize
from vl.data.outputs import CLASS_TABLE, PREDICTIONS, check_no_inputs
from vl.data.words.label_tables import LabelColumns

if TYPE_CHECKING:
    from vl.encoding.encoder_file import TrainedEncoder
    from vl.encoding.evaluation import EncoderEvaluation as Evaluation


@dataclass(frozen=True)
class EncoderEvaluation(OutputOptions, DeviceOptions, LabelColumns):
    """Evaluate an encoder, or several averaged: top-1 and top-5 accuracy, confusions.

    --per-class, --confusion-matrix, --confused-pairs and --output are for the last of --crops.
    """

    paths: tyro.conf.Positional[list[InputPath]]
    """Folders with a folder of images for each class, and lists of image, tab, class."""
    model: Annotated[tuple[InputFile, ...], tyro.conf.arg(metavar="FILE ...")] = ()
    """Trained encoders; the probabilities of several are averaged."""
    weights: InputFile | None = None
    """Instead of --model: weights of an encoder, see `vl embed`; by default torchvision's are
    downloaded."""
    encoder: str = "inception_v1"
    """With --weights: name of the encoder."""
    classes: InputFile | None = None
    """With --weights: the classes, one a line, in the order of the classifier's outputs."""
    crops: Annotated[tuple[CropCount, ...], tyro.conf.arg(metavar="{1,10,144} ...")] = (1,)
    """Crops of each image, whose probabilities are averaged: 10 in Krizhevsky et al. 2012, 144 in
    GoogLeNet's paper. Several counts give several rows."""
    resize: Resize | None = None
    """Of a single crop: the central 224 pixels after the shorter side is 256, or the whole image
    squashed; by default center-crop, and as timm prescribes for its encoders."""
    per_class: Annotated[Path, CLASS_TABLE] | None = None
    """Write the accuracy of each class that has images, between tabs."""
    confusion_matrix: OutputPng | None = None
    """Draw the confusion matrix of up to 200 classes as a .png file."""
    confused_pairs: NonNegativeInt = 0
    """Print this many of the most frequent pairs of a true and another predicted class."""
    output: Annotated[Path, PREDICTIONS] | None = None
    """Write the five most probable classes of each image as JSON lines."""
    json: bool = False
    """Print the results as one JSON line."""
    precision: AutoPrecision = "float32"
    """Of the encoder's arithmetic; auto is bfloat16 if this machine is faster at it."""
    engine: AutoEngine = "auto"
    """What runs the encoders; auto is OpenVINO if it is installed and saves time."""
    batch_size: PositiveInt = 32
    """Crops in a batch."""


def run(flags: EncoderEvaluation) -> int:
    """Evaluate; 1 if some images could not be read."""
    _check(flags)
    from vl import devices
    from vl.data.files import write_text
    from vl.encoding.confusion import MOST_CLASSES, draw_confusion_matrix, per_class_table
    from vl.encoding.evaluation import ClassifierSettings, evaluate_encoders
    from vl.inputs import find_labelled_images
    from vl.terminal import print_line

    device = devices.resolve_device(flags.device)
    settings = ClassifierSettings(
        crops=flags.crops,
        resize=flags.resize,
        device=device,
        precision=devices.resolve_precision(flags.precision, device),
        batch_size=flags.batch_size,
    )
    images = find_labelled_images(flags.paths)
    if flags.confusion_matrix:
        check_no_inputs([flags.confusion_matrix], (image.path for image in images))
    models = _models(flags)
    classes = next(iter(models.values())).classes
    if flags.confusion_matrix and len(classes) > MOST_CLASSES:
        raise ValueError(
            f"--confusion-matrix draws up to {MOST_CLASSES} classes, these are {len(classes)}: "
            "--confused-pairs 20 lists the most frequent pairs"
        )
    evaluation = evaluate_encoders(models, images, settings, engine=flags.engine)
    record = _record(evaluation, flags.confused_pairs)
    for line in [json.dumps(record, ensure_ascii=False)] if flags.json else _lines(record):
        print_line(line)
    if flags.output:
        # In ASCII, as a file name may not be UTF-8.
        records = [json.dumps(prediction) for prediction in evaluation.predictions]
        write_text(flags.output, "".join(f"{record}\n" for record in records))
    if flags.per_class:
        write_text(flags.per_class, per_class_table(evaluation.last, classes))
    if flags.confusion_matrix:
        draw_confusion_matrix(flags.confusion_matrix, evaluation.last, classes)
    return 1 if evaluation.failures else 0


def _check(flags: EncoderEvaluation) -> None:
    """Refuse invalid arguments before the work."""
    if flags.resize == "squash" and flags.crops != (1,):
        raise ValueError("--resize is for --crops 1; 10 and 144 crops have their own boxes")
    if flags.model and (flags.weights or flags.classes):
        raise ValueError("--model has its encoder and classes; leave out --weights and --classes")
    if not flags.model and not flags.classes:
        raise ValueError("give --model, or --weights with --encoder and --classes")


def _models(flags: EncoderEvaluation) -> "dict[str, TrainedEncoder]":
    from vl.encoding.evaluation import load_classifiers, load_published

    if flags.model:
        return load_classifiers(flags.model)
    assert flags.classes is not None  # _check
    return load_published(flags.encoder, flags.weights, flags.classes, flags)


def _record(evaluation: "Evaluation", pairs: int) -> dict[str, Any]:
    from vl.encoders.weights import fingerprint
    from vl.encoding.accuracy import wilson_interval

    results: list[dict[str, Any]] = []
    for crops, counts in evaluation.results.items():
        images, *hits = counts.totals()
        results.append({"crops": crops})
        for name, count in zip(("top1", "top5"), hits, strict=True):
            interval = wilson_interval(count, images)
            results[-1] |= {name: count / images, f"{name}_interval": interval}
    return {
        "signature": evaluation.signature,
        "models": [
            {"file": file, "encoder": model.name, "fingerprint": fingerprint(model.encoder)}
            for file, model in evaluation.models.items()
        ],
        "classes": len(evaluation.classes),
        "images": evaluation.images,
        "failures": evaluation.failures,
        "results": results,
        "confused_pairs": [
            {
                "class": evaluation.classes[pair.truth],
                "predicted": evaluation.classes[pair.predicted],
                "images": pair.images,
                "of": int(evaluation.last.images[pair.truth]),
            }
            for pair in evaluation.last.confused_pairs(pairs)
        ],
    }


def _lines(record: dict[str, Any]) -> list[str]:
    """The table, what could not be read, the confused pairs, and the signature."""
    lines = [f"{'crops':>6}{'images':>8}{'top-1 %':>9}{'95 %':>14}{'top-5 %':>9}{'95 %':>14}"]
    for result in record["results"]:
        cells = f"{result['crops']:6}{record['images']:8}"
        for name in ("top1", "top5"):
            low, high = result[f"{name}_interval"]
            interval = f"{100 * low:.1f} to {100 * high:.1f}"
            cells += f"{100 * result[name]:9.1f}{interval:>14}"
        lines.append(cells)
    if record["failures"]:
        lines.append(f"{record['failures']} images could not be read and are left out")
    for pair in record["confused_pairs"]:
        count = f"{pair['images']} of {pair['of']}"
        lines.append(f"{count} {pair['class']!r} predicted as {pair['predicted']!r}")
    return [*lines, record["signature"]]
