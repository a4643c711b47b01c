"""Top-1 and top-5 accuracy of classifying encoders, single or averaged.

Each image is cut into crops; the softmax is averaged over its crops and over the encoders (Szegedy
et al. 2015, section 7).
"""

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vl.data.choices import AutoEngine, CropCount, Precision, Resize
from vl.data.images.crops import crops_without_flips
from vl.data.images.decode import with_pixels
from vl.data.images.read_ahead import THREADS, read_or_report
from vl.data.labelled.folders import LabelledImage
from vl.data.words.label_tables import DEFAULT_COLUMNS, LabelColumns
from vl.encoders.table import Network
from vl.encoders.timm_features import PREFIX
from vl.encoders.torchvision_features import TorchvisionFeatures
from vl.encoding import encoder_file
from vl.encoding.accuracy import TOP, HitCounts, rank_classes
from vl.encoding.classes import check_same_classes, class_indices, read_classes
from vl.encoding.encoder_file import TrainedEncoder
from vl.encoding.openvino import EngineError, on_openvino, openvino_pays
from vl.encoding.pretrained import load_encoder
from vl.encoding.views import Preprocess, default_preprocessing, single_crop
from vl.inputs import error_message
from vl.terminal import ProgressBar
from vl.version import __version__

_log = logging.getLogger(__name__)
_Logits = Callable[[Tensor], Tensor]  # (B, 3, S, S) to (B, classes)
_Crops = list[dict[int, Tensor]]  # of each encoder: crops without flips, by crop count


class ClassifiedBatch(NamedTuple):
    """A batch of files as class probabilities."""

    indices: list[int]  # of the files that were read
    probabilities: dict[CropCount, Tensor]  # by crop count: (len(indices), classes), float32
    failures: list[tuple[int, Exception]]  # of the files that were not, and why


@dataclass(frozen=True)
class ClassifierSettings:
    """How images are classified.

    Raises:
        ValueError: no crop count, or a repeated one.
    """

    crops: tuple[CropCount, ...] = (1,)
    """Crops of each image; several counts give several results."""
    resize: Resize | None = None
    """Of a single crop; by default an encoder's own way, or center-crop if it has none."""
    device: torch.device | str = "cpu"
    """Where the encoders run."""
    precision: Precision = "float32"
    """Of the encoders' arithmetic; ``"bfloat16"`` is PyTorch's autocast."""
    batch_size: int = 32
    """Crops at once, at most."""

    def __post_init__(self) -> None:
        if not self.crops or len(set(self.crops)) < len(self.crops):
            counts = " ".join(map(str, self.crops))
            raise ValueError(f"crops are {counts!r}; expected 1, 10 and 144, each at most once")


class Classifier:
    """Encoders that classify files together, by the mean of their probabilities.

    Args:
        encoders: with the same classes in the same order; put into evaluation mode on the device.
        settings: crops, device and precision.
    """

    def __init__(self, encoders: Sequence[Network], settings: ClassifierSettings) -> None:
        self.settings = settings
        self.engine = "PyTorch"
        self._device = torch.device(self.settings.device)
        self._encoders = list(encoders)
        for encoder in self._encoders:
            encoder.eval().to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks this form
        self._logits = [self._with_torch(encoder) for encoder in self._encoders]
        # What cuts a single crop, and a key: encoders of one key have the same crops.
        self._single_crops: list[tuple[object, Preprocess]] = []
        for encoder in self._encoders:
            way = settings.resize or default_preprocessing(encoder, "center-crop")
            key = encoder if way == "encoder" else encoder.image_size
            self._single_crops.append((key, single_crop(encoder, way)))

    def use_openvino(self) -> bool:
        """Run copies of the encoders on OpenVINO; False with a warning if it cannot."""
        try:
            if self._device.type != "cpu":
                raise EngineError(f"OpenVINO runs on the CPU here, not on {self._device}")
            self._logits = [self._with_openvino(encoder) for encoder in self._encoders]
        except EngineError as error:
            _log.warning("%s; going on with PyTorch", error)
            return False
        self.engine = "OpenVINO"
        return True

    def stream(self, paths: Sequence[Path]) -> Iterator[ClassifiedBatch]:
        """Read and classify files in order; a bad one is reported, not raised.

        Raises:
            ValueError: a probability is not finite.
        """
        # Enough to fill a batch and to occupy each thread. Two groups are in memory at most; the
        # 144 crops of an image are 43 MB at GoogLeNet's size, before they are flipped.
        group = max(THREADS, self.settings.batch_size // max(1, max(self.settings.crops) // 2))
        for batch in read_or_report(paths, self._read, batch_size=group):
            probabilities = {}
            for count in self.settings.crops if batch.results else ():
                probabilities[count] = self._probabilities(count, batch.results)
                finite = probabilities[count].isfinite().all(1)
                if not bool(finite.all()):
                    path = paths[batch.indices[int((~finite).nonzero()[0])]]
                    raise ValueError(
                        f"{path}: the probabilities over {count} crops are not finite; the "
                        "encoder overflows its precision"
                    )
            yield ClassifiedBatch(batch.indices, probabilities, batch.failures)

    def _read(self, path: Path) -> _Crops:
        return with_pixels(path, self._cut)

    def _cut(self, pixels: Tensor) -> _Crops:
        crops: dict[tuple[object, int], Tensor] = {}  # encoders may share them
        for encoder, (key, single) in zip(self._encoders, self._single_crops, strict=True):
            for count in self.settings.crops:
                if (key, count) not in crops:
                    size = encoder.image_size
                    crops[key, count] = (
                        single(pixels)[None]
                        if count == 1
                        else crops_without_flips(pixels, size=size, num_crops=count)
                    )
        counts = self.settings.crops
        return [{n: crops[key, n] for n in counts} for key, _ in self._single_crops]

    @torch.inference_mode()
    def _probabilities(self, count: CropCount, crops: list[_Crops]) -> Tensor:
        """The mean over crops, then over encoders: ``(len(crops), classes)``, float32."""
        total = torch.zeros(())
        for index, logits in enumerate(self._logits):
            squares = torch.cat([of_encoders[index][count] for of_encoders in crops])
            parts = math.ceil(len(squares) / self.settings.batch_size)
            softmax = torch.cat(
                [
                    self._softmax(logits, part, with_flips=count > 1)
                    for part in squares.tensor_split(parts)
                ]
            )  # (len(crops) * count, classes)
            total = total + softmax.view(len(crops), -1, softmax.shape[1]).mean(1)
        return total / len(self._encoders)

    def _softmax(self, logits: _Logits, squares: Tensor, *, with_flips: bool) -> Tensor:
        """``(B, 3, S, S)`` to ``(B, classes)``, averaged with the flipped images'."""
        squares = squares.to(self._device)
        views = (squares, squares.flip(-1)) if with_flips else (squares,)
        total = torch.zeros((), device=self._device)
        for view in views:
            total = total + logits(view).float().softmax(1)
        return (total / len(views)).cpu()

    def _with_torch(self, encoder: Network) -> _Logits:
        bfloat16 = self.settings.precision == "bfloat16"

        def logits(squares: Tensor) -> Tensor:
            squares = squares.contiguous(memory_format=torch.channels_last)
            with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=bfloat16):
                return encoder.classify(squares).main

        return logits

    def _with_openvino(self, encoder: Network) -> _Logits:
        embed = on_openvino(encoder, bfloat16=self.settings.precision == "bfloat16")
        classifier = encoder.classifier
        assert classifier is not None  # see TrainedEncoder
        return lambda squares: classifier(embed(squares))


class EncoderEvaluation(NamedTuple):
    """The accuracy of encoders on images."""

    models: Mapping[str, TrainedEncoder]  # by their files
    classes: tuple[str, ...]  # of all of them
    results: dict[CropCount, HitCounts]  # by crop count
    images: int  # that were read
    failures: int
    signature: str
    predictions: list[dict[str, Any]]  # the top 5 of each image with the last crop count

    @property
    def last(self) -> HitCounts:
        """Of the last crop count."""
        return list(self.results.values())[-1]


def load_classifiers(paths: Sequence[Path]) -> dict[str, TrainedEncoder]:
    """Trained encoders by their files, to be evaluated together.

    Raises:
        FormatError: a file is not a trained encoder.
        ValueError: a file is repeated, or their classes differ.
    """
    models = {str(path): encoder_file.load(path) for path in paths}
    if len(models) < len(paths):
        raise ValueError("expected the files of trained encoders, each once")
    check_same_classes({file: model.classes for file, model in models.items()})
    return models


def load_published(
    name: str, weights: Path | None, classes: Path, columns: LabelColumns = DEFAULT_COLUMNS
) -> dict[str, TrainedEncoder]:
    """An encoder, see ``load_encoder``, with the classes of a file, see ``read_classes``.

    Raises:
        ValueError: the encoder has no classifier, or of another count of classes.
    """
    names = read_classes(classes, columns)
    encoder = load_encoder(name, weights, classifier=True)
    convolution = isinstance(encoder, TorchvisionFeatures) and not encoder.last_layer_is_linear
    if encoder.classifier is None or (weights is None and convolution):
        raise ValueError(f"{weights or name} has no classifier on the embedding")
    outputs = encoder.classifier.out_features
    if len(names) != outputs:
        raise ValueError(f"{classes} has {len(names)} classes, the classifier {outputs} outputs")
    publisher = "timm" if name.startswith(PREFIX) else "torchvision"
    return {str(weights or publisher): TrainedEncoder(encoder, name, names, {})}


def evaluate_encoders(
    models: Mapping[str, TrainedEncoder],
    images: Sequence[LabelledImage],
    settings: ClassifierSettings,
    *,
    engine: AutoEngine = "auto",
) -> EncoderEvaluation:
    """Evaluate encoders together: top-1 and top-5 accuracy, confusions, predictions.

    Files that cannot be read are reported on stderr and left out.

    Args:
        models: with the same classes, by their files.
        images: with their classes, see ``class_indices``.
        settings: of the classification.
        engine: ``"auto"`` is OpenVINO if it is installed, can run the encoders and saves time.

    Raises:
        ValueError: a class of images is not among the encoders', or no image can be read.
    """
    classes = next(iter(models.values())).classes
    index_of = class_indices(list(dict.fromkeys(image.label for image in images)), classes)
    truths = torch.tensor([index_of[image.label] for image in images])
    if len(classes) <= TOP:
        _log.info("there are %d classes: top-5 accuracy is always 1", len(classes))
    encoders = [model.encoder for model in models.values()]
    classifier = Classifier(encoders, settings)
    crops = len(images) * sum(settings.crops)
    if engine == "openvino" or (
        engine == "auto" and openvino_pays(encoders, images=crops, device=settings.device)
    ):
        classifier.use_openvino()
    results = {count: HitCounts(len(classes)) for count in settings.crops}
    predictions: list[dict[str, Any]] = []
    failures = 0
    with ProgressBar("evaluate", len(images), unit="images") as bar:
        for batch in classifier.stream([image.path for image in images]):
            for _, error in batch.failures:
                bar.print(error_message(error))
            for count, probabilities in batch.probabilities.items():
                ranking = rank_classes(probabilities)
                results[count].add(ranking, truths[batch.indices])
                if count == settings.crops[-1]:
                    predictions += [
                        {
                            "image": str(images[index].path),
                            "class": classes[int(truths[index])],
                            "top": [
                                {"class": classes[best], "probability": float(row[best])}
                                for best in order[:TOP].tolist()
                            ],
                        }
                        for index, row, order in zip(batch.indices, probabilities, ranking)
                    ]
            failures += len(batch.failures)
            bar.advance(len(batch.indices) + len(batch.failures))
    if failures == len(images):
        raise ValueError(f"none of {failures} images can be read")
    ways = [settings.resize or default_preprocessing(it, "center-crop") for it in encoders]
    settings_used = (
        " + ".join(model.name for model in models.values()),
        f"{len(classes)} classes",
        f"crops {' '.join(map(str, settings.crops))}",
        f"resize {' + '.join(dict.fromkeys(ways))}" if settings.crops == (1,) else "",
        settings.precision + (" on OpenVINO" if classifier.engine == "OpenVINO" else ""),
        f"vl {__version__}",
    )
    signature = " | ".join(filter(None, settings_used))
    return EncoderEvaluation(
        models, classes, results, len(images) - failures, failures, signature, predictions
    )
