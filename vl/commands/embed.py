"""`vl embed`: photographs to a file of embeddings."""

import logging
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from vl import devices
from vl.commands.options import DeviceOptions
from vl.data.choices import Resize
from vl.data.embeddings import EmbeddingWriter, Provenance, read_provenance
from vl.data.files import first_few
from vl.encoders.weights import fingerprint
from vl.encoding.embedder import COMPILE_FROM, Embedder
from vl.encoding.openvino import OPENVINO_FROM, Engine, problem
from vl.encoding.pretrained import load_encoder
from vl.inputs import error_message, find_inputs
from vl.terminal import ProgressBar

_log = logging.getLogger(__name__)
_SAVE_SECONDS = 10.0  # what a kill costs at most


@dataclass(frozen=True)
class EmbedRun(DeviceOptions):
    """Embed images with an encoder: float16 vectors, file names and the encoder's fingerprint."""

    paths: tyro.conf.Positional[list[Path]]
    """Photographs, and folders of them."""
    out: Path
    """The .npy file; beside it comes a .json with the names. What is there already is kept."""
    weights: Path | None = None
    """The encoder's weights: BVLC's blobs, a trained encoder, a captioner or a labeller;
    torchvision's are fetched."""
    encoder: str = "inception_v1"
    """The encoder's name."""
    views: Annotated[tuple[str, ...], tyro.conf.arg(metavar="VIEW ...")] = ("plain",)
    """What of each photograph is encoded: plain, flip, centre, top-left, ..., centre-flip, ...."""
    resize: Resize = "squash"
    """How a photograph becomes a square: all of it out of shape, or its middle."""
    precision: Literal["float32", "bfloat16", "auto"] = "float32"
    """Of the encoder's arithmetic; auto takes bfloat16 where this machine is faster at it."""
    engine: Engine | Literal["auto"] = "auto"
    """What runs the encoder: auto takes OpenVINO where it is there, can and pays for its start."""
    compile: Literal["auto", "always", "never"] = "auto"
    """PyTorch's compiler: auto where the photographs are enough to pay for its start."""
    batch_size: int = 32
    """Photographs at once."""


def run(flags: EmbedRun) -> int:
    """Embed what is not embedded yet; 1 if a photograph could not be read."""
    device = devices.resolve_device(flags.device)
    inputs = find_inputs(flags.paths)
    files = list(dict.fromkeys(inputs.files))  # a folder and a file of it give that file twice
    names = _names(flags.paths, files)
    bfloat16 = flags.precision == "bfloat16"
    if flags.precision == "auto":
        begun = read_provenance(flags.out)  # a stopwatch may say otherwise the second time
        bfloat16 = begun.precision == "bfloat16" if begun else devices.bfloat16_is_faster(device)
    encoder = load_encoder(flags.encoder, flags.weights)
    embedder = Embedder(
        encoder,
        encoder_name=flags.encoder,
        views=flags.views,
        resize=flags.resize,
        device=device,
        precision="bfloat16" if bfloat16 else "float32",
        batch_size=flags.batch_size,
    )
    provenance = Provenance(
        encoder=flags.encoder,
        fingerprint=fingerprint(encoder),
        resize=flags.resize,
        precision="bfloat16" if bfloat16 else "float32",
        views=tuple(flags.views),
        width=encoder.width,
    )
    writer = EmbeddingWriter(flags.out, provenance)
    todo = [index for index, name in enumerate(names) if name not in writer]
    _hasten(embedder, flags, len(todo) * len(flags.views))
    failed: set[int] = set()
    saved = time.monotonic()
    with ProgressBar("embed", len(files), unit="images") as bar:
        for unusable in inputs.failures:
            bar.print(error_message(unusable))
        bar.skip(len(files) - len(todo))
        try:
            for extracted in embedder.stream([files[index] for index in todo]):
                for index, error in extracted.failures:
                    bar.print(error_message(error))
                    failed.add(todo[index])
                writer.add([names[todo[index]] for index in extracted.indices], extracted.vectors)
                bar.advance(len(extracted.indices) + len(extracted.failures))
                if time.monotonic() - saved >= _SAVE_SECONDS:
                    writer.save()
                    saved = time.monotonic()
        finally:
            writer.save()
    kept = [name for index, name in enumerate(names) if index not in failed]
    others = sorted(set(writer.names) - set(names))  # of an earlier run over other photographs
    done = writer.finish([*kept, *others])
    failures = len(failed) + len(inputs.failures)
    _log.info(
        "%d embeddings of width %d (%s) in %s, %d of them from before; %d inputs failed",
        len(done.names),
        provenance.width,
        ", ".join(provenance.views),
        flags.out,
        len(files) - len(todo) + len(others),
        failures,
    )
    return 1 if failures else 0


def _hasten(embedder: Embedder, flags: EmbedRun, pictures: int) -> None:
    """Choose what runs the encoder."""
    openvino = flags.engine == "openvino"
    if flags.engine == "auto" and flags.compile != "always" and embedder.device.type == "cpu":
        openvino = pictures >= OPENVINO_FROM and problem(embedder.encoder) is None
    if openvino and embedder.use_openvino():
        return
    if flags.compile == "always" or (flags.compile == "auto" and pictures >= COMPILE_FROM):
        embedder.compile()


def _names(paths: list[Path], files: list[Path]) -> list[str]:
    """What each file is called: its path below the folder that was given, or its own name."""
    folders = [path for path in paths if path.is_dir()]
    names = []
    for file in files:
        above = [folder for folder in folders if file.is_relative_to(folder)]
        names.append(file.relative_to(above[0]).as_posix() if above else file.name)
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise ValueError(f"two photographs have the same name: {first_few(twice)}")
    return names
