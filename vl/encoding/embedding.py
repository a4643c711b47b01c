"""Image files to a file of embeddings, continued after an interruption."""

import logging
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import torch

from vl.data.choices import AutoEngine, AutoPrecision, Compile, Precision
from vl.data.embedding_writer import EmbeddingWriter
from vl.data.embeddings import EmbeddedFile, Provenance, read_provenance
from vl.data.files import first_few, keeping
from vl.data.identity import current_stamp
from vl.devices import resolve_precision
from vl.encoding.embedder import Embedder
from vl.encoding.openvino import openvino_pays
from vl.inputs import error_message, find_inputs
from vl.terminal import ProgressBar

# torch.compile takes about 25 s on two cores and then spares about 10 ms an image with GoogLeNet
# (36 to 26 ms in float32): below this many it does not pay.
COMPILE_FROM = 2500

_log = logging.getLogger(__name__)


class EmbeddingSummary(NamedTuple):
    """Counts of ``embed_files``."""

    total: int  # embeddings in the file
    reused: int  # of them, from an earlier run
    failures: int  # paths and files that could not be read


def embed_files(
    paths: Sequence[Path],
    output: Path,
    embedder: Embedder,
    *,
    engine: AutoEngine = "auto",
    compile: Compile = "auto",
    save_seconds: float = 10.0,
    overwrite: bool = False,
) -> EmbeddingSummary:
    """Write the embeddings of images to a file, except those that it has already.

    An image is embedded again if its content has changed, or if the file does not say from which
    content its embedding is. Images that cannot be read are reported on stderr and left out.

    Args:
        paths: images and folders of them.
        output: the .npy file; see ``vl.data.embeddings``.
        embedder: its engine is chosen here.
        engine: ``"auto"`` is OpenVINO if it is installed, can run the encoder and saves time.
        compile: ``"auto"`` compiles if there are enough images to save time.
        save_seconds: between saves, what a kill costs at most.
        overwrite: whether to replace files that are no embeddings.

    Raises:
        FormatError: the file is damaged, or was made by another encoder or with other settings.
        OSError: the file cannot be written, or another process is writing it.
        ValueError: there is no image, two have the same name, or an image of this name was
            embedded from another folder.
    """
    inputs = find_inputs(paths)
    if not inputs.files:
        raise ValueError("; ".join(map(str, inputs.failures)))
    images = _name(paths, inputs.files)
    names = [image.name for image in images]
    provenance = Provenance(
        encoder=embedder.encoder_name,
        fingerprint=embedder.fingerprint,
        resize=embedder.resize,
        precision=embedder.precision,
        views=embedder.views,
        width=embedder.width,
    )
    writer = EmbeddingWriter(output, provenance, overwrite=overwrite)
    with closing(writer), keeping(writer.kept):
        missing = _missing(images, writer)
        choose_engine(embedder, engine, compile, images=len(missing) * len(embedder.views))
        failed: set[int] = set()
        saved = time.monotonic()
        with ProgressBar("embed", len(images), unit="images") as bar:
            for error in inputs.failures:
                bar.print(error_message(error))
            bar.skip(len(images) - len(missing))
            try:
                for batch in embedder.stream([images[index].path for index in missing]):
                    for index, error in batch.failures:
                        bar.print(error_message(error))
                        failed.add(missing[index])
                    rows = [images[missing[index]] for index in batch.indices]
                    writer.add(
                        [image.name for image in rows],
                        batch.vectors,
                        [
                            stamp and EmbeddedFile(image.folder, stamp)
                            for image, stamp in zip(rows, batch.stamps, strict=True)
                        ],
                    )
                    bar.advance(len(batch.indices) + len(batch.failures))
                    if time.monotonic() - saved >= save_seconds:
                        writer.save()
                        saved = time.monotonic()
            finally:
                writer.save()
        embedded = [name for index, name in enumerate(names) if index not in failed]
        others = sorted(set(writer.names) - set(names))  # of an earlier run on other images
        embeddings = writer.finish([*embedded, *others])
        reused = len(images) - len(missing) + len(others)
    return EmbeddingSummary(len(embeddings.names), reused, len(failed) + len(inputs.failures))


def resume_precision(precision: AutoPrecision, device: torch.device, output: Path) -> Precision:
    """That of the embeddings at ``output`` for ``"auto"``; without any, see ``resolve_precision``.

    A file's embeddings have one precision, but timing may give another answer the second time.
    """
    if precision == "auto" and (provenance := read_provenance(output)) is not None:
        return "bfloat16" if provenance.precision == "bfloat16" else "float32"
    return resolve_precision(precision, device)


def choose_engine(embedder: Embedder, engine: AutoEngine, compile: Compile, *, images: int) -> None:
    """Let OpenVINO or torch.compile run an encoder, where flags ask for it or it saves time."""
    use_openvino = engine == "openvino"
    if engine == "auto" and compile != "always":
        use_openvino = openvino_pays([embedder.encoder], images=images, device=embedder.device)
    if use_openvino and embedder.use_openvino():
        return
    if compile == "always" or (compile == "auto" and images >= COMPILE_FROM):
        embedder.compile()


class _NamedImage(NamedTuple):
    path: Path
    name: str  # its path below the folder among the command's paths, or its file name
    folder: str  # absolute, without links


def _name(paths: Sequence[Path], files: Sequence[Path]) -> list[_NamedImage]:
    """The images with their names; a file that is given twice is there once.

    Raises:
        ValueError: two files have the same name.
    """
    folders = [path for path in paths if path.is_dir()]
    resolved: dict[Path, str] = {}
    images: dict[str, _NamedImage] = {}
    repeated: dict[str, Path] = {}
    for file in files:
        folder = next((folder for folder in folders if file.is_relative_to(folder)), file.parent)
        if folder not in resolved:
            resolved[folder] = str(folder.resolve())
        name = file.relative_to(folder).as_posix()
        image = _NamedImage(file, name, resolved[folder])
        first = images.setdefault(name, image)
        if first.folder != image.folder and not file.samefile(first.path):
            repeated.setdefault(name, file)
    if repeated:
        name, file = next(iter(repeated.items()))
        raise ValueError(
            f"two images have the same name: {first_few(sorted(repeated))}; {images[name].path} "
            f"and {file}: give the folder above both, or write two files"
        )
    return list(images.values())


def _missing(images: Sequence[_NamedImage], writer: EmbeddingWriter) -> list[int]:
    """Indices of the images that have no embedding of their present content.

    Raises:
        ValueError: an embedding was made from another folder's image of the same name.
    """
    missing, others = [], []
    changed = unknown = 0
    for index, image in enumerate(images):
        before = writer.files.get(image.name)
        if before is None:
            unknown += image.name in writer
            missing.append(index)
            continue
        try:
            stamp = current_stamp(image.path, before.stamp)
        except OSError:  # reported when it is read
            missing.append(index)
            continue
        if before.folder != image.folder:
            earlier = Path(before.folder, image.name)
            # Of a folder that was moved the content says that the images are the same.
            same = earlier.samefile(image.path) if earlier.exists() else stamp is not None
            if not same:
                others.append((image, earlier))
        if stamp is None:
            changed += 1
            missing.append(index)
        else:
            writer.files[image.name] = EmbeddedFile(image.folder, stamp)
    if others:
        image, earlier = others[0]
        raise ValueError(
            f"{writer.path}: {len(others)} images were embedded from another folder under the same "
            f"name, {earlier} and now {image.path}: write another file, or embed the folder above "
            "both into a new one"
        )
    if changed:
        _log.info(
            "images that have changed since they were embedded, and are embedded again: %d", changed
        )
    if unknown:
        _log.info(
            "%d embeddings do not say from which content they are, and are made anew", unknown
        )
    return missing
