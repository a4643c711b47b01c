"""`vl evaluate-encoder`: how often an encoder's classifier finds the class of photographs."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import torch
import tyro
from torch import Tensor

from vl import devices, sheets
from vl.commands.bounds import NonNegativeInt
from vl.commands.options import DeviceOptions
from vl.data.choices import Resize
from vl.data.files import write_text
from vl.data.images.crops import CropCount
from vl.encoders.table import Network, TorchvisionFeatures
from vl.encoders.weights import fingerprint
from vl.encoding import encoder_file as encoder_bundle
from vl.encoding.classes import check_same_classes, places, read_classes
from vl.encoding.evaluation import TOP, Classifier, Pair, Tally, interval, ranked
from vl.encoding.openvino import OPENVINO_FROM, Engine, problem
from vl.encoding.pretrained import load_encoder
from vl.inputs import error_message, find_labelled_images
from vl.terminal import ProgressBar, print_line
from vl.version import __version__

_log = logging.getLogger(__name__)
_MOST_DRAWN = 200  # classes; a picture of more has thousands of pixels a side


@dataclass(frozen=True)
class EncoderEvaluation(DeviceOptions):
    """Evaluate encoders as classifiers: top-1 and top-5 accuracy of one, or of an ensemble.

    What --per-class, --confusion, --confused and --out tell is of the last number of --crops.
    """

    photographs: tyro.conf.Positional[list[Path]]
    """Folders with a folder for each class, and lists of a photograph, a tab and its class."""
    model: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="FILE ...")] = ()
    """Trained encoders; several answer together, by the mean of their probabilities."""
    weights: Path | None = None
    """Instead of --model: an encoder's weights, as vl embed takes them; torchvision's are
    fetched."""
    encoder: str = "inception_v1"
    """With --weights: the encoder's name."""
    classes: Path | None = None
    """With --weights: the classes, one a line, in the order of the classifier's outputs."""
    crops: Annotated[tuple[CropCount, ...], tyro.conf.arg(metavar="{1,10,144} ...")] = (1,)
    """Crops of each photograph, whose probabilities are averaged: Krizhevsky's 10, GoogLeNet's
    144."""
    resize: Resize = "center-crop"
    """Of 1 crop alone: the middle 224 pixels where the shorter side has 256, or all of it, out of
    shape."""
    per_class: Path | None = None
    """Write the figures of each class that has photographs, between tabs."""
    confusion: Path | None = None
    """Draw which class was taken for which, as .png; up to 200 classes."""
    confused: NonNegativeInt = 0
    """Print so many pairs of classes that were taken for each other most often."""
    out: Path | None = None
    """Write what was said of each photograph, the five likeliest classes, as JSON lines."""
    json: bool = False
    """All figures as one JSON line."""
    precision: Literal["float32", "bfloat16", "auto"] = "float32"
    """Of the encoder's arithmetic; auto takes bfloat16 where this machine is faster at it."""
    engine: Engine | Literal["auto"] = "auto"
    """What runs the encoders: auto takes OpenVINO where it is there, can and pays for its start."""
    batch_size: int = 32
    """Crops at once."""


class _Model(NamedTuple):
    """An encoder and what it is called here."""

    file: str
    name: str
    encoder: Network
    classes: tuple[str, ...]


def run(flags: EncoderEvaluation) -> int:
    """Evaluate; 1 if a photograph could not be read."""
    if flags.resize != "center-crop" and flags.crops != (1,):
        raise ValueError("--resize is of --crops 1; the boxes of 10 and 144 crops are given")
    if flags.confusion and flags.confusion.suffix.lower() != ".png":
        raise ValueError(f"--confusion writes a .png file, not {flags.confusion.name!r}")
    for file in (flags.out, flags.per_class, flags.confusion):
        if file and not file.absolute().parent.is_dir():  # rather now than after hours
            raise FileNotFoundError(f"{file}: there is no folder {file.parent} to write it into")
    device = devices.resolve_device(flags.device)
    photographs = find_labelled_images(flags.photographs)
    paths = [each.path for each in photographs]
    models = _models(flags)
    check_same_classes({model.file: model.classes for model in models})
    classes = models[0].classes
    if flags.confusion and len(classes) > _MOST_DRAWN:
        raise ValueError(
            f"--confusion draws up to {_MOST_DRAWN} classes, these are {len(classes)}: "
            "--confused 20 names the pairs"
        )
    place = places(list(dict.fromkeys(each.label for each in photographs)), classes)
    truths = torch.tensor([place[each.label] for each in photographs])
    if len(classes) < TOP:
        _log.info("there are %d classes: all of them are among the first five", len(classes))
    bfloat16 = flags.precision == "bfloat16"
    if flags.precision == "auto":
        bfloat16 = devices.bfloat16_is_faster(device)
    classifier = Classifier(
        [model.encoder for model in models],
        crops=flags.crops,
        resize=flags.resize,
        device=device,
        bfloat16=bfloat16,
        batch_size=flags.batch_size,
    )
    openvino = flags.engine == "openvino"
    if flags.engine == "auto" and device.type == "cpu":
        openvino = len(paths) * sum(flags.crops) >= OPENVINO_FROM
        openvino = openvino and not any(problem(model.encoder) for model in models)
    openvino = openvino and classifier.use_openvino()
    tallies = {number: Tally(len(classes)) for number in flags.crops}
    lines: list[str] = []
    failed = 0
    with ProgressBar("evaluate", len(paths), unit="images") as bar:
        for some in classifier.files(paths):
            for _, error in some.failures:
                bar.print(error_message(error))
            for number, probabilities in some.probabilities.items():
                order = ranked(probabilities)
                tallies[number].add(order, truths[some.indices])
                if flags.out and number == flags.crops[-1]:
                    lines += [
                        _line(paths[index], int(truths[index]), each, best, classes)
                        for index, each, best in zip(some.indices, probabilities, order)
                    ]
            failed += len(some.failures)
            bar.advance(len(some.indices) + len(some.failures))
    if failed == len(paths):
        raise ValueError(f"none of the {failed} photographs could be read")
    signature = f"{' + '.join(model.name for model in models)} | {len(classes)} classes"
    signature += f" | crops {' '.join(map(str, flags.crops))}"
    signature += f" | resize {flags.resize}" if flags.crops == (1,) else ""
    signature += f" | {'bfloat16' if bfloat16 else 'float32'}{' on OpenVINO' if openvino else ''}"
    signature += f" | vl {__version__}"
    last = tallies[flags.crops[-1]]
    confused = [_named(pair, last, classes) for pair in last.confused(flags.confused)]
    if flags.json:
        record = {
            "signature": signature,
            "models": [
                {
                    "file": model.file,
                    "encoder": model.name,
                    "fingerprint": fingerprint(model.encoder),
                }
                for model in models
            ],
            "classes": len(classes),
            "images": len(paths) - failed,
            "failures": failed,
            "results": [_figures(number, tally) for number, tally in tallies.items()],
            "confused": confused,
        }
        print_line(json.dumps(record, ensure_ascii=False))
    else:
        _print(tallies, confused, failed)
        print_line(signature)
    if flags.out:
        write_text(flags.out, "".join(f"{line}\n" for line in lines))
    if flags.per_class:
        write_text(flags.per_class, _per_class(last, classes))
    if flags.confusion:
        _draw(flags.confusion, last, classes)
    return 1 if failed else 0


def _models(flags: EncoderEvaluation) -> list[_Model]:
    if flags.model:
        if flags.weights or flags.classes:
            raise ValueError(
                "--model has its own encoder and classes: leave out --weights and --classes"
            )
        if len(set(flags.model)) < len(flags.model):
            raise ValueError("--model has the same file twice")
        held = [(str(path), encoder_bundle.load(path)) for path in flags.model]
        return [_Model(file, each.name, each.encoder, each.classes) for file, each in held]
    if not flags.classes:
        raise ValueError("give --model, or --weights with --encoder and --classes")
    classes = read_classes(flags.classes)
    encoder = load_encoder(flags.encoder, flags.weights, classifier=True)
    if encoder.classifier is None or (
        flags.weights is None and isinstance(encoder, TorchvisionFeatures) and not encoder.matrix
    ):
        raise ValueError(f"{flags.weights or flags.encoder} has no classifier on the embedding")
    outputs = encoder.classifier.out_features
    if len(classes) != outputs:
        raise ValueError(
            f"{flags.classes} has {len(classes)} classes, the classifier {outputs} outputs"
        )
    return [_Model(str(flags.weights or "torchvision"), flags.encoder, encoder, classes)]


def _line(
    path: Path, truth: int, probabilities: Tensor, order: Tensor, classes: Sequence[str]
) -> str:
    top = [
        {"class": classes[number], "probability": float(probabilities[number])}
        for number in order[:TOP].tolist()
    ]
    record = {"photograph": str(path), "class": classes[truth], "top": top}
    return json.dumps(record)  # in ASCII, as a name may be no UTF-8


def _figures(number: int, tally: Tally) -> dict[str, Any]:
    count = int(tally.images.sum())
    figures: dict[str, Any] = {"crops": number}
    for name, hits in (("top1", int(tally.first.sum())), ("top5", int(tally.among.sum()))):
        figures |= {name: hits / count, f"{name}_interval": interval(hits, count)}
    return figures


def _named(pair: Pair, tally: Tally, classes: Sequence[str]) -> dict[str, Any]:
    return {
        "class": classes[pair.truth],
        "answer": classes[pair.answer],
        "images": pair.images,
        "of": int(tally.images[pair.truth]),
    }


def _print(
    tallies: dict[CropCount, Tally], confused: Sequence[dict[str, Any]], failed: int
) -> None:
    print_line(f"{'crops':>6}{'images':>8}{'top-1 %':>9}{'95 %':>14}{'top-5 %':>9}{'95 %':>14}")
    for number, tally in tallies.items():
        figures = _figures(number, tally)
        cells = f"{number:6}{int(tally.images.sum()):8}"
        for name in ("top1", "top5"):
            low, high = figures[f"{name}_interval"]
            between = f"{100 * low:.1f} to {100 * high:.1f}"
            cells += f"{100 * figures[name]:9.1f}{between:>14}"
        print_line(cells)
    if failed:
        print_line(f"{failed} photographs could not be read and do not count")
    for pair in confused:
        of = f"{pair['images']} of {pair['of']}"
        print_line(f"{of} {pair['class']!r} taken for {pair['answer']!r}")


def _per_class(tally: Tally, classes: Sequence[str]) -> str:
    lines = ["class\timages\ttop-1\ttop-5"]
    for number in tally.images.nonzero().flatten().tolist():
        count = int(tally.images[number])
        shares = (100 * int(hits[number]) / count for hits in (tally.first, tally.among))
        name = sheets.clean(classes[number])
        lines.append("\t".join([name, str(count), *(f"{share:.1f}" for share in shares)]))
    return "\n".join(lines) + "\n"


def _draw(path: Path, tally: Tally, classes: Sequence[str]) -> None:
    """A square a pair of classes, the darker the larger a share of the row's photographs."""
    from matplotlib.figure import Figure  # slow to import, and few ask for a picture

    counts = tally.confusion().float()
    shares = counts / counts.sum(1, keepdim=True).clamp(min=1)
    side = 3 + 0.16 * len(classes)  # inches: a class's name is 0.1 high
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1)
    names = [sheets.clean(text)[:40] for text in classes]
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7, parse_math=False)
    axes.set_yticks(range(len(names)), names, fontsize=7, parse_math=False)
    axes.set_xlabel("answer")
    axes.set_ylabel("class")
    sheets.save(path, figure)
