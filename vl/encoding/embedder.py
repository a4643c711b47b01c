"""Images to embeddings: an encoder and how images are prepared for it, ready to run."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vl import bundle as bundles
from vl.data.batches import ImageSource
from vl.data.choices import Precision, Preprocessing, Resize
from vl.data.download import hub
from vl.data.errors import FormatError
from vl.data.identity import FileStamp, read_stamped
from vl.data.images.decode import ImageLike, with_pixels
from vl.data.images.files import check_regular
from vl.data.images.read_ahead import THREADS, batched, read_ahead, read_or_report
from vl.encoders.table import Network
from vl.encoders.weights import fingerprint
from vl.encoding.openvino import EngineError, on_openvino
from vl.encoding.pretrained import (
    drop_auxiliary,
    encoder_config,
    encoder_from_bundle,
    load_encoder,
    read_model,
    stored_embedder,
)
from vl.encoding.views import VIEWS, default_preprocessing, preprocess_for

_log = logging.getLogger(__name__)


class EmbeddedBatch(NamedTuple):
    """A batch of sources as embeddings."""

    indices: list[int]  # of the sources that were read
    vectors: Tensor  # (len(indices), views, D) float32, on the CPU
    failures: list[tuple[int, Exception]]  # of the sources that were not, and why
    stamps: list[FileStamp | None]  # of the sources that were read; None for bytes


class Embedder:
    """An encoder and how images are shown to it: views, resize mode, device, precision, engine.

    Args:
        encoder: is put into evaluation mode on the device.
        encoder_name: its name in the table of encoders, by which a file builds it again.
        views: parts of each image that are encoded, by name in ``VIEWS``.
        resize: how an image becomes a square; by default the encoder's own way, or ``"squash"`` if
            it has none.
        device: where the encoder runs.
        precision: ``"bfloat16"`` runs it under PyTorch's autocast.
        batch_size: images at once.

    Raises:
        ValueError: no view, an unknown or a repeated one; or the encoder has no way of its own.
    """

    def __init__(
        self,
        encoder: Network,
        *,
        encoder_name: str,
        views: Sequence[str] = ("plain",),
        resize: Preprocessing | None = None,
        device: torch.device | str = "cpu",
        precision: Precision = "float32",
        batch_size: int = 32,
    ) -> None:
        unknown = [view for view in views if view not in VIEWS]
        if unknown or not views:
            raise ValueError(f"no view {', '.join(unknown) or '-'}; there are {', '.join(VIEWS)}")
        if len(set(views)) < len(views):
            raise ValueError(f"views are {', '.join(views)}; one of them is there twice")
        self.encoder = encoder
        self.encoder_name = encoder_name
        self.width = encoder.width
        self.image_size = encoder.image_size
        self.views = tuple(views)
        self.resize: Preprocessing = resize or default_preprocessing(encoder, "squash")
        self._preprocess = preprocess_for(encoder, self.resize)
        self.device = torch.device(device)
        self.precision: Precision = precision
        self.batch_size = batch_size
        module = encoder.eval().to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks this form
        self._eager: Callable[[Tensor], Tensor] = module
        self._run = self._eager
        self._engine = ""  # what runs instead of eager PyTorch

    @classmethod
    def load(
        cls,
        name_or_path: str | Path,
        *,
        weights: Path | None = None,
        views: Sequence[str] | None = None,
        resize: Resize | None = None,
        device: torch.device | str = "cpu",
        precision: Precision = "float32",
        batch_size: int = 32,
    ) -> "Embedder":
        """An embedder by its encoder's name, or from the file of any model that has an encoder.

        Args:
            name_or_path: in the table of encoders; or the file of any model that has an encoder.
            weights: of an encoder by name; None downloads what torchvision publishes.
            views: by default those of the captioner or labeller, else ``("plain",)``.
            resize: by default that of the captioner or labeller, else as of the class.
            device: see the class, as for the other arguments.
            precision: see the class.
            batch_size: see the class.

        Raises:
            FormatError: a file is not what it should be.
            OSError: a file cannot be read, or nothing could be downloaded.
            ValueError: there is no such encoder, see ``load_encoder``; or see the class.
        """
        path = Path(name_or_path)
        if isinstance(name_or_path, str) and not (path.suffix == ".safetensors" or path.is_file()):
            stored = cls(load_encoder(name_or_path, weights), encoder_name=name_or_path)
        else:
            stored = cls.from_bundle(read_model(path))
        return cls(
            stored.encoder,
            encoder_name=stored.encoder_name,
            views=views or stored.views,
            resize=resize or stored.resize,
            device=device,
            precision=precision,
            batch_size=batch_size,
        )

    @classmethod
    def from_pretrained(
        cls,
        where: Path | str,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: Path | str | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        device: torch.device | str = "cpu",
    ) -> "Embedder":
        """An embedder from a file of any model, a folder, or the Hugging Face Hub.

        The arguments and errors are those of ``vl.data.download.hub.find_model`` and of ``load``.
        """
        path = hub.find_model(
            where,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            force_download=force_download,
            local_files_only=local_files_only,
        )
        return cls.load(path, device=device)

    save_pretrained = hub.save_pretrained
    push_to_hub = hub.push_to_hub

    def save(self, path: Path | str) -> None:
        """Write the encoder and how images are shown to it as one file, atomically."""
        bundles.write(
            path,
            kind="embedder",
            configuration={"embedder": self.config()},
            modules={"encoder": self.module_for_bundle()},
        )

    @classmethod
    def from_bundle(
        cls, bundle: bundles.Bundle, *, device: torch.device | str = "cpu"
    ) -> "Embedder":
        """The embedder of a model's file, as ``config`` describes it there.

        Raises:
            FormatError: the description or the weights are not what they should be.
        """
        stored = stored_embedder(bundle)
        encoder = encoder_from_bundle(bundle)
        try:
            return cls(
                encoder,
                encoder_name=stored.encoder.name,
                views=stored.views,
                resize=stored.resize,
                device=device,
            )
        except ValueError as cause:
            raise FormatError(bundle.path, str(cause), record="configuration 'embedder'") from cause

    def with_encoder(self, encoder: Network) -> "Embedder":
        """The same settings around another encoder of this name, on PyTorch without compilation."""
        return Embedder(
            encoder,
            encoder_name=self.encoder_name,
            views=self.views,
            resize=self.resize,
            device=self.device,
            precision=self.precision,
            batch_size=self.batch_size,
        )

    @property
    def fingerprint(self) -> str:
        """Of the encoder's weights as they are now."""
        return fingerprint(self.encoder)

    def config(self) -> dict[str, Any]:
        """The description in a model's file, from which ``from_bundle`` builds the embedder."""
        return {
            "encoder": encoder_config(self.encoder_name, self.module_for_bundle()),
            "views": list(self.views),
            "resize": self.resize,
        }

    def module_for_bundle(self) -> Network:
        """The module whose tensors a model's file has as ``encoder.*``: no auxiliary heads."""
        return drop_auxiliary(self.encoder_name, self.encoder)

    def compile(self) -> None:
        """Compile the encoder with its present weights, at the next batch."""
        options: dict[str, Any] = {"freezing": True} if self.device.type == "cpu" else {}
        try:
            self._engine = "torch.compile"
            self._run = torch.compile(self._eager, options=options)
        except RuntimeError as error:  # where this Python or system cannot at all
            self._fall_back(error)

    def use_openvino(self) -> bool:
        """Run a copy of the encoder on OpenVINO; False with a warning if it cannot."""
        try:
            if self.device.type != "cpu":
                raise EngineError(f"OpenVINO runs on the CPU here, not on {self.device.type}")
            self._run = on_openvino(self.encoder, bfloat16=self.precision == "bfloat16")
        except EngineError as error:
            _log.warning("%s; going on with PyTorch", error)
            return False
        self._engine = "OpenVINO"
        return True

    def __call__(self, images: Sequence[ImageLike]) -> Tensor:
        """Embeddings of images, ``(B, views, D)``, float32, on the device.

        Args:
            images: files, their bytes, Pillow images, uint8 arrays ``(H, W, 3)``, or pixels
                ``(3, H, W)``, RGB, float, in [0, 1].

        Raises:
            FormatError: one is no image.
            OSError: a file cannot be read.
        """
        empty = torch.empty(0, len(self.views), self.width, device=self.device)
        return torch.cat([empty, *self.batches(images)])

    def batches(
        self, images: Iterable[ImageLike], *, batch_size: int | None = None
    ) -> Iterator[Tensor]:
        """Embeddings of images batch by batch, ``(B, views, D)``, float32, on the device.

        Threads decode the next batch while the encoder runs. Raises as a call.
        """
        for squares in read_ahead(batched(images, batch_size or self.batch_size), self.preprocess):
            yield self.encode(torch.stack(squares))

    @torch.inference_mode()
    def encode(self, squares: Tensor) -> Tensor:
        """``(B, 3, S, S)`` pixels in [0, 1] to ``(B, views, D)``, float32, on the device."""
        squares = squares.to(self.device)
        return torch.stack([self._encode_view(VIEWS[view](squares)) for view in self.views], 1)

    def stream(self, sources: Iterable[Path | str | bytes]) -> Iterator[EmbeddedBatch]:
        """Read and encode files or their bytes batch by batch, in order.

        Threads decode the next batch while the encoder runs. A source that cannot be read is
        reported, not raised.
        """

        def read(source: Path | str | bytes) -> tuple[Tensor, FileStamp | None]:
            if isinstance(source, bytes):
                return self.preprocess(source), None
            check_regular(source)
            content, stamp = read_stamped(source)
            return self.preprocess(content, name=str(source)), stamp

        for batch in read_or_report(sources, read, batch_size=self.batch_size):
            vectors = torch.empty(0, len(self.views), self.width)
            if batch.results:
                vectors = self.encode(torch.stack([pixels for pixels, _ in batch.results])).cpu()
            stamps = [stamp for _, stamp in batch.results]
            yield EmbeddedBatch(batch.indices, vectors, batch.failures, stamps)

    def preprocess(self, image: ImageLike, *, name: str = "image") -> Tensor:
        """An image to the encoder's input, ``(3, S, S)``; ``name`` is what errors call it."""
        return with_pixels(image, self._preprocess, name=name)

    def _encode_view(self, pixels: Tensor) -> Tensor:
        count = len(pixels)
        if self._engine == "torch.compile" and count < self.batch_size:
            # One shape only: another would be compiled anew. Repeats fill up, and are cut off.
            pixels = pixels[torch.arange(self.batch_size, device=pixels.device) % count]
        if self._engine != "OpenVINO":  # which takes them as they come
            pixels = pixels.contiguous(memory_format=torch.channels_last)
        bfloat16 = self.precision == "bfloat16"
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=bfloat16):
            try:
                encoded = self._run(pixels)
            except Exception as error:
                if self._run is self._eager:
                    raise
                self._fall_back(error)
                encoded = self._run(pixels)
        return encoded[:count].float()

    def _fall_back(self, error: Exception) -> None:
        # Most often there is no C++ compiler.
        _log.warning("%s failed, going on without it: %s", self._engine, _first_line(error))
        self._run, self._engine = self._eager, ""


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def image_file_source(
    paths: Sequence[Path],
    *,
    preprocess: Callable[[Path], Tensor],
    views: Sequence[str] = ("plain", "flip"),
) -> ImageSource:
    """A source of training images that decodes files, each in one of its views at random.

    Args:
        paths: row i is image i.
        preprocess: reads a file as the encoder's input, ``(3, S, S)``, as ``Embedder.preprocess``.
        views: by name in ``VIEWS``.

    Returns:
        Gives ``(B, 3, S, S)``; raises FormatError for a file that is no image.
    """

    def read(row: int, draw: int) -> Tensor:
        return VIEWS[views[draw % len(views)]](preprocess(paths[row])[None])[0]

    def source(rows: Tensor, draws: Tensor) -> Tensor:
        with ThreadPoolExecutor(max_workers=THREADS) as pool:
            pixels = torch.stack(list(pool.map(read, rows.tolist(), draws.tolist())))
        return pixels.contiguous(memory_format=torch.channels_last)

    return source
