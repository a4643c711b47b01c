"""Image files to a file of embeddings, continued after an interruption."""

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from vl.data.choices import AutoEngine, AutoPrecision, Compile, Precision
from vl.data.embeddings import EmbeddingWriter, Provenance, read_provenance
from vl.data.files import first_few
from vl.devices import resolve_precision
from vl.encoding.embedder import Embedder
from vl.encoding.openvino import openvino_pays
from vl.inputs import error_message, find_inputs
from vl.terminal import ProgressBar

# torch.compile takes about 25 s on two cores and then spares about 10 ms an image with GoogLeNet
# (36 to 26 ms in float32): below this many it does not pay.
COMPILE_FROM = 2500


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
) -> EmbeddingSummary:
    """Write the embeddings of images to a file, except those that it has already.

    Images that cannot be read are reported on stderr and left out.

    Args:
        paths: images and folders of them.
        output: the .npy file; see ``vl.data.embeddings``.
        embedder: its engine is chosen here.
        engine: ``"auto"`` is OpenVINO if it is installed, can run the encoder and saves time.
        compile: ``"auto"`` compiles if there are enough images to save time.
        save_seconds: between saves, what a kill costs at most.

    Raises:
        FormatError: the file is damaged, or was made by another encoder or with other settings.
        OSError: the file cannot be written.
        ValueError: there is no image, or two have the same name.
    """
    inputs = find_inputs(paths)
    files = list(dict.fromkeys(inputs.files))  # a folder and a file of it give that file twice
    names = _names(paths, files)
    provenance = Provenance(
        encoder=embedder.encoder_name,
        fingerprint=embedder.fingerprint,
        resize=embedder.resize,
        precision=embedder.precision,
        views=embedder.views,
        width=embedder.width,
    )
    writer = EmbeddingWriter(output, provenance)
    missing = [index for index, name in enumerate(names) if name not in writer]
    choose_engine(embedder, engine, compile, images=len(missing) * len(embedder.views))
    failed: set[int] = set()
    saved = time.monotonic()
    with ProgressBar("embed", len(files), unit="images") as bar:
        for error in inputs.failures:
            bar.print(error_message(error))
        bar.skip(len(files) - len(missing))
        try:
            for batch in embedder.stream([files[index] for index in missing]):
                for index, error in batch.failures:
                    bar.print(error_message(error))
                    failed.add(missing[index])
                writer.add([names[missing[index]] for index in batch.indices], batch.vectors)
                bar.advance(len(batch.indices) + len(batch.failures))
                if time.monotonic() - saved >= save_seconds:
                    writer.save()
                    saved = time.monotonic()
        finally:
            writer.save()
    embedded = [name for index, name in enumerate(names) if index not in failed]
    others = sorted(set(writer.names) - set(names))  # of an earlier run on other images
    embeddings = writer.finish([*embedded, *others])
    reused = len(files) - len(missing) + len(others)
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


def _names(paths: Sequence[Path], files: Sequence[Path]) -> list[str]:
    """A name for each file: its path below the folder among the paths, or its own name.

    Raises:
        ValueError: two files have the same name.
    """
    folders = [path for path in paths if path.is_dir()]
    names = []
    for file in files:
        above = [folder for folder in folders if file.is_relative_to(folder)]
        names.append(file.relative_to(above[0]).as_posix() if above else file.name)
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated:
        raise ValueError(f"two images have the same name: {first_few(repeated)}")
    return names
