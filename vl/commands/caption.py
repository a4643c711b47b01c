"""`vl caption`: photographs to sentences."""

import json
import logging
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import tyro

from data.images import find
from vl.captioner import Caption, Captioner
from vl.extractor import Extractor
from vl.progress import Bar
from vl.results import ImageId, write_results

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CaptionRun:
    """Say what is on photographs: one line each, or its n best."""

    paths: tyro.conf.Positional[list[Path]]
    """Photographs, folders of them, or - for a list of paths on stdin."""
    model: list[Path]
    """A captioner's file; several of one encoder and vocabulary vote at each word."""
    beam: int | None = None
    """Captions kept while searching; the captioner's own setting otherwise."""
    n_best: int = 1
    """Captions of each photograph, at most the beam."""
    max_length: int | None = None
    """Greatest number of words, the end counted; the captioner's own otherwise."""
    min_length: int | None = None
    """Words before a caption may end."""
    length_power: float | None = None
    """Compare captions by log-probability over length to this power."""
    block_ngram: int | None = None
    """No so many words follow each other twice."""
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
    captioner = Captioner.load(*flags.model, device=flags.device)
    wanted = {name: getattr(flags, name) for name in asdict(captioner.search)}
    captioner.search = replace(
        captioner.search, **{name: value for name, value in wanted.items() if value is not None}
    )
    files = find(list(_paths(flags.paths)))
    if flags.save:
        captioner.save(flags.save)
    extractor = Extractor(
        captioner.encoder,
        views=captioner.views,
        fit=captioner.fit,
        device=flags.device,
        batch_size=flags.batch_size,
    )
    results: dict[ImageId, str] = {}
    failures = 0
    with Bar("caption", len(files), unit="images") as bar:
        for part in extractor.files(files):
            for _, error in part.failures:
                bar.say(f"vl: error: {error}")
            failures += len(part.failures)
            if part.indices:
                described = captioner.describe(part.vectors.mean(1), n_best=flags.n_best)
                for index, captions in zip(part.indices, described, strict=True):
                    _print(files[index], captions, as_json=flags.json, several=flags.n_best > 1)
                    results[_image_id(files[index])] = captions[0].text
            bar.advance(len(part.indices) + len(part.failures))
    if flags.out:
        write_results(flags.out, results)
    if failures:
        _log.info("%d of %d photographs could not be read", failures, len(files))
    return 1 if failures else 0


def _paths(given: list[Path]) -> Iterator[Path]:
    for path in given:
        if str(path) == "-":
            yield from (Path(line.strip()) for line in sys.stdin if line.strip())
        else:
            yield path


def _print(path: Path, captions: list[Caption], *, as_json: bool, several: bool) -> None:
    if as_json:
        listed = [caption._asdict() for caption in captions]
        print(json.dumps({"path": str(path), "captions": listed}, ensure_ascii=False))
    elif several:
        for caption in captions:
            print(f"{path}\t{caption.log_prob:.3f}\t{caption.text}")
    else:
        print(f"{path}\t{captions[0].text}")


def _image_id(path: Path) -> ImageId:
    """COCO's number where the name ends in its twelve digits, else the file's name."""
    digits = path.stem[-12:]
    return int(digits) if len(digits) == 12 and digits.isdigit() else path.name
