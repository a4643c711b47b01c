"""How often encoders, alone or several together, find the class of photographs.

Each photograph is cut into crops; the mean of the softmax over its crops, and over the encoders,
is what is judged (Szegedy et al. 2015, section 7). Which file an encoder is from does not matter.
"""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, get_args

import torch
from torch import Tensor

from vl.data.choices import Resize
from vl.data.errors import FormatError
from vl.data.images.crops import CropCount, crops_without_flips
from vl.data.images.decode import decode, square
from vl.encoders.table import Network
from vl.encoding.openvino import EngineError, on_openvino

TOP = 5
_THREADS = 4  # that decode and cut
_NORMAL = 1.959964  # within so many deviations of its mean a normal variable is 95 % of the time

_log = logging.getLogger(__name__)
_Logits = Callable[[Tensor], Tensor]  # (B, 3, S, S) to (B, classes)
_Cut = dict[int, dict[int, Tensor]]  # crops without mirror images, by their side and number


class Classified(NamedTuple):
    """Some of the photographs."""

    indices: list[int]  # of the paths that were read
    probabilities: dict[CropCount, Tensor]  # by number of crops: (len(indices), classes), float32
    failures: list[tuple[int, Exception]]  # of the paths that were not, and why


class Pair(NamedTuple):
    """A class that was taken for another."""

    truth: int
    answer: int
    images: int


class Tally:
    """Counts hits, the probabilities not kept.

    Args:
        classes: how many there are.
    """

    def __init__(self, classes: int) -> None:
        self.top = min(TOP, classes)
        self.images = torch.zeros(classes, dtype=torch.int64)  # of each class
        self.first = torch.zeros(classes, dtype=torch.int64)  # of these, found as the likeliest
        self.among = torch.zeros(classes, dtype=torch.int64)  # or among the ``top`` likeliest
        self._answers: dict[tuple[int, int], int] = {}

    def add(self, ranked: Tensor, truths: Tensor) -> None:
        """Count photographs.

        Args:
            ranked: classes from the likeliest on, ``(B, top or more)``.
            truths: their classes, ``(B,)``.
        """
        classes = len(self.images)
        hits = ranked[:, : self.top] == truths[:, None]  # (B, top)
        self.images += torch.bincount(truths, minlength=classes)
        self.first += torch.bincount(truths[hits[:, 0]], minlength=classes)
        self.among += torch.bincount(truths[hits.any(1)], minlength=classes)
        for pair in zip(truths.tolist(), ranked[:, 0].tolist(), strict=True):
            self._answers[pair] = self._answers.get(pair, 0) + 1

    def confused(self, most: int) -> list[Pair]:
        """The pairs of classes that were taken for each other most often, those first."""
        pairs = [Pair(*pair, count) for pair, count in self._answers.items() if pair[0] != pair[1]]
        return sorted(pairs, key=lambda pair: (-pair.images, pair))[:most]

    def confusion(self) -> Tensor:
        """How many photographs of each class got each answer, ``(classes, classes)``."""
        counts = torch.zeros(len(self.images), len(self.images), dtype=torch.int64)
        for pair, count in self._answers.items():
            counts[pair] = count
        return counts


def ranked(probabilities: Tensor) -> Tensor:
    """``(B, classes)`` to the classes from the likeliest on; of equals the earlier one is first."""
    return probabilities.argsort(dim=1, descending=True, stable=True)


def interval(hits: int, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share: which true shares make ``hits`` of ``count`` likely.

    Source:
        Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    share, spread = hits / count, _NORMAL**2 / count
    middle = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)


class Classifier:
    """Encoders that are ready to classify files together.

    Args:
        encoders: of the same classes, in the same order; put into evaluation mode on the device.
        crops: how many crops of each photograph; several numbers are several answers.
        resize: of one crop, its middle, or all of the photograph out of shape.
        device: where the encoders run.
        bfloat16: run them in bfloat16 where PyTorch's autocast does.
        batch_size: crops at once, at most.

    Raises:
        ValueError: no encoder, a number of crops that is not 1, 10 or 144 or is there twice, an
            unknown fit, or an empty batch.
    """

    def __init__(
        self,
        encoders: Sequence[Network],
        *,
        crops: Sequence[CropCount] = (1,),
        resize: Resize = "center-crop",
        device: torch.device | str = "cpu",
        bfloat16: bool = False,
        batch_size: int = 32,
    ) -> None:
        if not encoders:
            raise ValueError("there is no encoder to evaluate")
        if not crops or set(crops) - {1, 10, 144} or len(set(crops)) < len(crops):
            numbers = " ".join(map(str, crops))
            raise ValueError(f"crops are {numbers!r}; each of 1, 10 and 144 can be there once")
        if resize not in get_args(Resize):
            raise ValueError(
                f"resize is {resize!r}; it must be one of {', '.join(get_args(Resize))}"
            )
        if batch_size < 1:
            raise ValueError(f"batch size is {batch_size}; it must be at least 1")
        self._crops: tuple[CropCount, ...] = tuple(crops)
        self._resize: Resize = resize
        self._device = torch.device(device)
        self._bfloat16 = bfloat16
        self._batch_size = batch_size
        self._encoders = list(encoders)
        for encoder in self._encoders:
            encoder.eval().to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks this form
        self._logits = [self._with_torch(encoder) for encoder in self._encoders]

    def use_openvino(self) -> bool:
        """Let OpenVINO run the encoders, with the weights that they have at this moment.

        Returns:
            Whether it does; if not, the log says why, and PyTorch goes on as before.
        """
        try:
            if self._device.type != "cpu":
                raise EngineError(f"OpenVINO runs on the processor here, not on {self._device}")
            self._logits = [self._with_openvino(encoder) for encoder in self._encoders]
        except EngineError as error:
            _log.warning("%s; going on with PyTorch", error)
            return False
        return True

    def files(self, paths: Sequence[Path]) -> Iterator[Classified]:
        """Read and classify files, in order; a bad one is reported, not raised.

        Raises:
            ValueError: an answer is not a number.
        """
        # Enough to fill a batch and to give each thread something. Two groups are held at most; a
        # photograph of 144 crops is 43 MB at GoogLeNet's side, before its mirror images are made.
        group = max(_THREADS, self._batch_size // max(1, max(self._crops) // 2))
        spans = [range(i, min(i + group, len(paths))) for i in range(0, len(paths), group)]
        with ThreadPoolExecutor(max_workers=_THREADS) as pool:

            def begun(number: int) -> list[Future[_Cut | Exception]]:
                return [
                    pool.submit(self._read, paths[i]) for span in spans[number:][:1] for i in span
                ]

            prefetch = begun(0)
            for number, span in enumerate(spans):
                futures, prefetch = prefetch, begun(number + 1)
                yield self._classified(paths, span, futures)

    def _classified(
        self, paths: Sequence[Path], span: range, futures: list[Future[_Cut | Exception]]
    ) -> Classified:
        good: list[int] = []
        cuts: list[_Cut] = []
        failures: list[tuple[int, Exception]] = []
        for index, future in zip(span, futures, strict=True):
            read = future.result()
            if isinstance(read, Exception):
                failures.append((index, read))
            else:
                good.append(index)
                cuts.append(read)
        found = {number: self._probabilities(number, cuts) for number in self._crops if cuts}
        for number, answer in found.items():
            if not bool(answer.isfinite().all()):
                row = int((~answer.isfinite()).any(1).nonzero()[0])
                raise ValueError(
                    f"{paths[good[row]]}: of {number} crops the answer is not a number; "
                    "the encoder's numbers leave the range of their precision"
                )
        return Classified(good, found, failures)

    def _read(self, path: Path) -> _Cut | Exception:
        try:
            pixels = decode(path)
            return {
                side: {number: self._cut(pixels, side, number) for number in self._crops}
                for side in {encoder.image_size for encoder in self._encoders}
            }
        except (FormatError, OSError) as error:
            return error

    def _cut(self, pixels: Tensor, side: int, number: CropCount) -> Tensor:
        if number == 1 and self._resize == "squash":
            return square(pixels, side, "squash")[None]
        return crops_without_flips(pixels, size=side, num_crops=number)

    @torch.inference_mode()
    def _probabilities(self, number: CropCount, cuts: list[_Cut]) -> Tensor:
        """The mean over crops, then over encoders: ``(len(cuts), classes)``, float32."""
        total = torch.zeros(())
        for encoder, logits in zip(self._encoders, self._logits, strict=True):
            squares = torch.cat([cut[encoder.image_size][number] for cut in cuts])
            parts = math.ceil(len(squares) / self._batch_size)
            answers = [
                self._softmax(logits, part, mirrored=number > 1)
                for part in squares.tensor_split(parts)
            ]
            answer = torch.cat(answers)  # (len(cuts) * crops, classes)
            total = total + answer.view(len(cuts), -1, answer.shape[1]).mean(1)
        return total / len(self._encoders)

    def _softmax(self, logits: _Logits, squares: Tensor, *, mirrored: bool) -> Tensor:
        """``(B, 3, S, S)`` to ``(B, classes)``, the mean with that of the mirror images."""
        squares = squares.to(self._device)
        views = (squares, squares.flip(-1)) if mirrored else (squares,)
        total = torch.zeros((), device=self._device)
        for view in views:
            total = total + logits(view).float().softmax(1)
        return (total / len(views)).cpu()

    def _with_torch(self, encoder: Network) -> _Logits:
        def logits(squares: Tensor) -> Tensor:
            squares = squares.contiguous(memory_format=torch.channels_last)
            with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self._bfloat16):
                return encoder.classify(squares).main

        return logits

    def _with_openvino(self, encoder: Network) -> _Logits:
        embed = on_openvino(encoder, bfloat16=self._bfloat16)
        head = encoder.classifier
        assert head is not None  # whoever is evaluated has one
        return lambda squares: head(embed(squares))
