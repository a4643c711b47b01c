"""Photographs to embeddings, fast: files decoded by threads, an encoder made ready to run.

It does not know what the embeddings are for.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from vl.data.batches import ImageSource
from vl.data.choices import Resize
from vl.data.errors import FormatError
from vl.data.images.decode import decode, square
from vl.encoders.table import Network
from vl.encoding.openvino import EngineError, on_openvino

_log = logging.getLogger(__name__)

# torch.compile takes about 25 s on two cores and then spares about 10 ms an image with GoogLeNet
# (36 to 26 ms in float32): below this many it does not pay.
COMPILE_FROM = 2500


class EmbeddedBatch(NamedTuple):
    """A batch of files as embeddings."""

    indices: list[int]  # of the paths that were read
    vectors: Tensor  # (len(indices), views, D) float32
    failures: list[tuple[int, Exception]]  # of the paths that were not, and why


class Embedder:
    """An encoder that is ready to run: no autograd, channels last, perhaps compiled.

    Args:
        encoder: is put into evaluation mode on the device.
        views: what of each photograph is encoded, by name in ``VIEWS``.
        resize: how a photograph becomes a square.
        device: where the encoder runs.
        bfloat16: run it in bfloat16 where PyTorch's autocast does.
        compiled: compile it with torch.compile, weights frozen in.
        batch_size: images at once.

    Raises:
        ValueError: no view, an unknown one or one twice, an unknown resize mode, or an empty batch.
    """

    def __init__(
        self,
        encoder: Network,
        *,
        views: Sequence[str] = ("plain",),
        resize: Resize = "squash",
        device: torch.device | str = "cpu",
        bfloat16: bool = False,
        compiled: bool = False,
        batch_size: int = 32,
    ) -> None:
        unknown = [view for view in views if view not in VIEWS]
        if unknown or not views:
            raise ValueError(f"no view {', '.join(unknown) or '-'}; there are {', '.join(VIEWS)}")
        if len(set(views)) < len(views):
            raise ValueError(f"views are {', '.join(views)}; one of them is there twice")
        if resize not in get_args(Resize):
            raise ValueError(
                f"resize is {resize!r}; it must be one of {', '.join(get_args(Resize))}"
            )
        if batch_size < 1:
            raise ValueError(f"batch size is {batch_size}; it must be at least 1")
        self.encoder = encoder
        self.width = encoder.width
        self.views = tuple(views)
        self.resize: Resize = resize
        self.device = torch.device(device)
        self.bfloat16 = bfloat16
        self.batch_size = batch_size
        module = encoder.eval().to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks this form
        self._eager: Callable[[Tensor], Tensor] = module
        self._run = self._eager
        self._faster = ""  # what runs in the place of plain PyTorch
        if compiled:
            self.compile()

    def compile(self) -> None:
        """Compile the encoder, weights frozen in; it happens at the next batch."""
        # Constants folded in, layouts chosen ahead: a CPU matter.
        options: dict[str, Any] = {"freezing": True} if self.device.type == "cpu" else {}
        try:
            self._faster = "torch.compile"
            self._run = torch.compile(self._eager, options=options)
        except RuntimeError as error:  # where this Python or system cannot at all
            self._go_on_eagerly(error)

    def use_openvino(self) -> bool:
        """Let OpenVINO run the encoder, with the weights that it has at this moment.

        Returns:
            Whether it does; if not, the log says why, and PyTorch goes on as before.
        """
        try:
            if self.device.type != "cpu":
                raise EngineError(f"OpenVINO runs on the processor here, not on {self.device.type}")
            self._run = on_openvino(self.encoder, bfloat16=self.bfloat16)
        except EngineError as error:
            _log.warning("%s; going on with PyTorch", error)
            return False
        self._faster = "OpenVINO"
        return True

    @torch.inference_mode()
    def __call__(self, squares: Tensor) -> Tensor:
        """``(B, 3, S, S)`` pixels in [0, 1] to ``(B, views, D)``, float32, on the device."""
        squares = squares.to(self.device)
        return torch.stack([self._encode(VIEWS[view](squares)) for view in self.views], 1)

    def files(self, paths: Sequence[Path]) -> Iterator[EmbeddedBatch]:
        """Read and encode files batch by batch, in order; a bad file is reported, not raised.

        Yields:
            What became of each next ``batch_size`` paths.
        """

        def read(path: Path) -> Tensor | Exception:
            try:
                return self.square(decode(path))
            except (FormatError, OSError) as error:
                return error

        # Threads, as decoding is done outside the interpreter's lock; one batch ahead.
        with ThreadPoolExecutor(max_workers=4) as pool:
            batches = _chunks(len(paths), self.batch_size)
            waiting = [
                (span, [pool.submit(read, paths[i]) for i in span]) for span in islice(batches, 2)
            ]
            while waiting:
                span, futures = waiting.pop(0)
                read_here = [future.result() for future in futures]
                waiting += [
                    (later, [pool.submit(read, paths[i]) for i in later])
                    for later in islice(batches, 1)
                ]
                good = [
                    i for i, item in zip(span, read_here, strict=True) if isinstance(item, Tensor)
                ]
                pixels = [item for item in read_here if isinstance(item, Tensor)]
                failures = [
                    (i, item)
                    for i, item in zip(span, read_here, strict=True)
                    if isinstance(item, Exception)
                ]
                empty = torch.empty(0, len(self.views), self.width)
                vectors = self(torch.stack(pixels)).cpu() if pixels else empty
                yield EmbeddedBatch(good, vectors, failures)

    def square(self, pixels: Tensor) -> Tensor:
        """``(3, H, W)`` to the square that the encoder takes."""
        return square(pixels, self.encoder.image_size, self.resize)

    def _encode(self, pixels: Tensor) -> Tensor:
        count = len(pixels)
        if self._faster == "torch.compile" and count < self.batch_size:
            # One shape only: another would be compiled anew. Repeats fill up, and are cut off.
            pixels = pixels[torch.arange(self.batch_size, device=pixels.device) % count]
        if self._faster != "OpenVINO":  # which takes them as they come
            pixels = pixels.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bfloat16):
            try:
                encoded = self._run(pixels)
            except Exception as error:
                if self._run is self._eager:
                    raise
                self._go_on_eagerly(error)
                encoded = self._run(pixels)
        return encoded[:count].float()

    def _go_on_eagerly(self, error: Exception) -> None:
        # No C++ compiler, most often. What is only faster must not stop what works.
        _log.warning("%s failed, going on without it: %s", self._faster, _first_line(error))
        self._run, self._faster = self._eager, ""


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _chunks(total: int, size: int) -> Iterator[range]:
    for begin in range(0, total, size):
        yield range(begin, min(begin + size, total))


def _corner(top: int, left: int) -> Callable[[Tensor], Tensor]:
    """A window of 7/8 of the side, enlarged to the side: 224 of 256, as Krizhevsky et al. 2012.

    Args:
        top: 0 for the upper edge, 1 for the middle, 2 for the lower edge.
        left: the same from left to right.
    """

    def cut(squares: Tensor) -> Tensor:
        side = squares.shape[-1]
        window = side * 7 // 8
        y, x = (side - window) * top // 2, (side - window) * left // 2
        part = squares[:, :, y : y + window, x : x + window]
        return F.interpolate(part, size=(side, side), mode="bilinear", align_corners=False)

    return cut


def _mirrored(view: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda squares: view(squares).flip(-1)


# What is encoded of a square photograph, (B, 3, S, S) to the same shape: the whole, the four
# corners and the centre, and the mirror image of each.
VIEWS: dict[str, Callable[[Tensor], Tensor]] = {
    "plain": lambda squares: squares,
    "top-left": _corner(0, 0),
    "top-right": _corner(0, 2),
    "bottom-left": _corner(2, 0),
    "bottom-right": _corner(2, 2),
    "centre": _corner(1, 1),
}
VIEWS |= {
    ("flip" if name == "plain" else f"{name}-flip"): _mirrored(view)
    for name, view in list(VIEWS.items())
}


def photographs(
    paths: Sequence[Path], *, side: int, resize: Resize, views: Sequence[str] = ("plain", "flip")
) -> ImageSource:
    """A source that decodes photographs, each shown in one of its views at random.

    Args:
        paths: row i is photograph i.
        side: of the square, in pixels.
        resize: how a photograph becomes a square.
        views: by name in ``vl.encoding.embedder.VIEWS``.

    Returns:
        Gives ``(B, 3, side, side)``; raises FormatError for a file that is no photograph.
    """
    pool = ThreadPoolExecutor(max_workers=4)

    def read(row: int, draw: int) -> Tensor:
        pixels = square(decode(paths[row]), side, resize)
        return VIEWS[views[draw % len(views)]](pixels[None])[0]

    def source(rows: Tensor, draws: Tensor) -> Tensor:
        pixels = torch.stack(list(pool.map(read, rows.tolist(), draws.tolist())))
        return pixels.contiguous(memory_format=torch.channels_last)

    return source
