"""`vl caption`: photographs to sentences."""

import json
import logging
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import tyro

from vl import devices
from vl.captioning.captioner import Caption, Captioner
from vl.data.captions.captions import ImageId
from vl.data.choices import RankBy
from vl.evaluation.results import write_results
from vl.inputs import error_message, listed, photographs
from vl.terminal import ProgressBar, print_line

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CaptionRun:
    """Say what is on photographs: one line each, or its n best."""

    paths: tyro.conf.Positional[list[Path]]
    """Photographs, folders of them, or - for a list of paths on stdin."""
    model: list[Path]
    """A captioner's file; several of one encoder and vocabulary vote at each word."""
    num_beams: int | None = None
    """Captions kept while searching; the captioner's own setting otherwise."""
    n_best: int = 1
    """Captions of each photograph, at most the beam."""
    max_length: int | None = None
    """Greatest number of words, the end counted; the captioner's own otherwise."""
    min_length: int | None = None
    """Words before a caption may end; the captioner's own otherwise."""
    length_penalty: float | None = None
    """Compare by log-probability over length to this power; the captioner's own otherwise."""
    no_repeat_ngram_size: int | None = None
    """No so many words follow each other twice; the captioner's own otherwise."""
    rank_by: RankBy | None = None
    """The likeliest caption first, or the one most like all others; the captioner's otherwise."""
    json: bool = False
    """One JSON line a photograph: path, captions, log-probabilities."""
    out: Path | None = None
    """Write COCO's results format as well; COCO's photographs by number, others by file name."""
    save: Path | None = None
    """Write the captioner itself, with these settings and all its decoders, as one file."""
    batch_size: int = 32
    """Photographs at once."""
    device: str = "cpu"
    """cpu or cuda."""


def run(flags: CaptionRun) -> int:
    """Caption; 1 if a photograph could not be read."""
    if not flags.model:
        raise ValueError("--model wants a captioner's file")
    captioner = Captioner.load(*flags.model, device=devices.resolve_device(flags.device))
    wanted = {name: getattr(flags, name) for name in asdict(captioner.search)}
    captioner.search = replace(
        captioner.search, **{name: value for name, value in wanted.items() if value is not None}
    )
    captioner.search.check_n_best(flags.n_best)
    if flags.save:
        captioner.save(flags.save)
        if not flags.paths:
            return 0
    inputs = photographs(listed(flags.paths))
    if flags.out:
        _check_ids(inputs.files)
        _check_place(flags.out)
    captioner.embedder.batch_size = flags.batch_size
    results: dict[ImageId, str] = {}
    failures = len(inputs.failures)
    with ProgressBar("caption", len(inputs.files), unit="images") as bar:
        for unusable in inputs.failures:
            bar.print(error_message(unusable))
        for part in captioner.embedder.stream(inputs.files):
            for _, error in part.failures:
                bar.print(error_message(error))
            failures += len(part.failures)
            if part.indices:
                described = captioner.describe(part.vectors.mean(1), n_best=flags.n_best)
                for index, captions in zip(part.indices, described, strict=True):
                    path = inputs.files[index]
                    _print(path, captions, as_json=flags.json, several=flags.n_best > 1)
                    results[_image_id(path)] = captions[0].text
                sys.stdout.flush()  # who reads the pipe need not wait for the next batches
            bar.advance(len(part.indices) + len(part.failures))
    if flags.out:
        write_results(flags.out, results)
        _log.info("%d captions in %s", len(results), flags.out)
    if failures:
        _log.info("%d of %d inputs failed", failures, len(inputs.files) + len(inputs.failures))
    return 1 if failures else 0


def _check_ids(files: list[Path]) -> None:
    """Refuse results that could not tell two photographs apart, or could not be written."""
    of: dict[ImageId, Path] = {}
    for path in files:
        image = _image_id(path)
        if of.setdefault(image, path) != path:
            raise ValueError(f"{of[image]} and {path} are both image {image!r}, so --out fails")
        try:
            str(image).encode()
        except UnicodeEncodeError as cause:
            raise ValueError(f"{path!r} has no name in UTF-8, so --out fails") from cause


def _check_place(path: Path) -> None:
    """See that a file can be written there, before hours of work."""
    if path.is_dir():
        raise IsADirectoryError(f"{path}: a folder, not a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as cause:
        raise OSError(f"{path}: cannot be written: {cause.strerror}") from cause


def _print(path: Path, captions: list[Caption], *, as_json: bool, several: bool) -> None:
    if as_json:
        said = [caption._asdict() for caption in captions]
        print(json.dumps({"path": str(path), "captions": said}))
    elif several:
        for caption in captions:
            print_line(f"{path}\t{caption.log_prob:.3f}\t{caption.text}")
    else:
        print_line(f"{path}\t{captions[0].text}")


def _image_id(path: Path) -> ImageId:
    """COCO's number where the name is its twelve digits, or ends in them after ``_``."""
    digits = path.stem.rpartition("_")[2]
    coco = len(digits) == 12 and digits.isascii() and digits.isdecimal()
    return int(digits) if coco else path.name
