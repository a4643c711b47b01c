"""`vl embed`: images to a file of embeddings."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from vl.commands.options import BatchOptions, OutputOptions
from vl.data.bounds import InputFile
from vl.data.choices import AutoEngine, AutoPrecision, Compile, Resize
from vl.data.outputs import EMBEDDINGS

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EmbedRun(OutputOptions, BatchOptions):
    """Embed images: float16 vectors in a .npy file, with names and the encoder in a .json file."""

    paths: tyro.conf.Positional[list[Path]]
    """Images and folders of images."""
    output: Annotated[Path, EMBEDDINGS]
    """The .npy file to write; embeddings that it has already are not made again."""
    weights: InputFile | None = None
    """Weights of the encoder: BVLC's .caffemodel, torchvision's .pth, timm's safetensors, or the
    file of an encoder, captioner or labeller; by default torchvision's or timm's are downloaded."""
    encoder: str = "inception_v1"
    """Name of the encoder, see `vl encoders`."""
    views: Annotated[tuple[str, ...], tyro.conf.arg(metavar="VIEW ...")] = ("plain",)
    """Views of each image: plain, flip, center, top-left, ..., center-flip, top-left-flip, ..."""
    resize: Resize | None = None
    """Squash the whole image to a square, or crop its center; by default squash, and as timm
    prescribes for its encoders."""
    precision: AutoPrecision = "float32"
    """Of the encoder's arithmetic; auto is bfloat16 if this machine is faster at it."""
    engine: AutoEngine = "auto"
    """What runs the encoder; auto is OpenVINO if it is installed and saves time."""
    compile: Compile = "auto"
    """Compile the encoder with torch.compile; auto compiles if there are enough images."""


def run(flags: EmbedRun) -> int:
    """Embed the images that are not in the file yet; 1 if some could not be read."""
    from vl import devices
    from vl.encoding.embedder import Embedder
    from vl.encoding.embedding import embed_files, resume_precision

    device = devices.resolve_device(flags.device)
    embedder = Embedder.load(
        flags.encoder,
        weights=flags.weights,
        views=flags.views,
        resize=flags.resize,
        device=device,
        precision=resume_precision(flags.precision, device, flags.output),
        batch_size=flags.batch_size,
    )
    summary = embed_files(
        flags.paths,
        flags.output,
        embedder,
        engine=flags.engine,
        compile=flags.compile,
        overwrite=flags.overwrite,
    )
    _log.info(
        "%d embeddings of width %d (%s) in %s, %d of them from before; %d inputs failed",
        summary.total,
        embedder.width,
        ", ".join(embedder.views),
        flags.output,
        summary.reused,
        summary.failures,
    )
    return 1 if summary.failures else 0
