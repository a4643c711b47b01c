"""`vl search`: photographs that are like a photograph, a word, or a sum of both."""

import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated

import torch
import tyro

from vl import devices, sheets
from vl.commands.options import DeviceOptions
from vl.data.files import escape_unprintable
from vl.data.words.vectors import LOOKUP_RULES
from vl.inputs import error_message
from vl.labelling.labeller import Labeller
from vl.search.index import Hit, Index, QueryTerm, query_vector
from vl.terminal import print_line

_log = logging.getLogger(__name__)

# Of the picture: inches of a photograph with its title, and of the line above all.
_COLUMNS = 5


@dataclass(frozen=True)
class SearchRun(DeviceOptions):
    """Search embedded images by text, by image, or by sums of both: an image - a word + a word.

    Each word and each photograph is a direction in word space; those of --text, --image and --plus
    are added, those of --minus taken away.
    """

    index: tyro.conf.Positional[Path]
    """The photographs to search: a file that `vl embed` made with the labeller's encoder."""
    model: Path
    """A labeller's file."""
    text: Annotated[tuple[str, ...], tyro.conf.arg(metavar="WORD ...")] = ()
    """Words or phrases to look for, each in quotes if it is of several words."""
    image: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="PHOTOGRAPH ...")] = ()
    """Photographs to look for."""
    plus: Annotated[tuple[str, ...], tyro.conf.arg(metavar="WORD ...")] = ()
    """Words to add."""
    minus: Annotated[tuple[str, ...], tyro.conf.arg(metavar="WORD ...")] = ()
    """Words to take away."""
    top: int = 10
    """Photographs to find."""
    without_query: bool = False
    """Leave a photograph of --image out of what is found, if it is in the index by its path."""
    json: bool = False
    """One JSON line: the query, and the names and cosines found."""
    picture: Path | None = None
    """Write a .png of the query's photographs and those found."""
    photographs: Path | None = None
    """The folder that was embedded, for --picture."""


def run(flags: SearchRun) -> int:
    """Search; 1 if a photograph of the picture could not be drawn."""
    _check(flags)
    return answer(flags, Labeller.load(flags.model, device=devices.resolve_device(flags.device)))


def answer(flags: SearchRun, labeller: Labeller) -> int:
    """The same with a labeller that is loaded."""
    index = Index.load(flags.index, labeller)
    wanted = query_vector(_parts(flags, labeller))
    left_out = _own(flags.image, index.names) if flags.without_query else []
    hits = index.search(wanted[None], top_k=flags.top + len(left_out))[0]
    hits = [hit for hit in hits if hit.name not in left_out][: flags.top]
    if flags.without_query:
        nothing = "nothing: no photograph of the query is in the index"
        _log.info("left out: %s", ", ".join(left_out) or nothing)
    _print(flags, hits)
    if flags.picture is None or flags.photographs is None:
        return 0
    sys.stdout.flush()  # who reads the pipe need not wait for the picture
    missing = _draw(flags, hits, folder=flags.photographs, picture=flags.picture)
    _log.info("%d photographs in %s", len(hits) + len(flags.image) - missing, flags.picture)
    return 1 if missing else 0


def _check(flags: SearchRun) -> None:
    """Refuse what makes no sense, before any work."""
    if not (flags.text or flags.image or flags.plus):
        raise ValueError("nothing to look for: give --text, --image or --plus")
    if flags.top < 1:
        raise ValueError(f"--top is {flags.top}; it must be at least 1")
    if flags.without_query and not flags.image:
        raise ValueError("--without-query leaves photographs of --image out, but there are none")
    if (flags.picture is None) != (flags.photographs is None):
        raise ValueError("--picture and --photographs go together: what to write, where to look")
    if flags.picture and flags.picture.suffix.lower() != ".png":
        raise ValueError(f"--picture writes a .png file, not {flags.picture.name!r}")
    drawn = len(flags.image) + flags.top
    if flags.picture and drawn > sheets.MAX_CELLS:
        raise ValueError(
            f"{drawn} photographs with the query's; --picture holds {sheets.MAX_CELLS}"
        )
    if flags.photographs and not flags.photographs.is_dir():
        raise NotADirectoryError(f"{flags.photographs}: a folder of photographs was expected")


def _parts(flags: SearchRun, labeller: Labeller) -> list[QueryTerm]:
    """The terms of the query; how each word's vector was found is told."""
    words = (*flags.text, *flags.plus, *flags.minus)
    weights = [1.0] * (len(words) - len(flags.minus)) + [-1.0] * len(flags.minus)
    placed = labeller.space.embed(words)  # where the labels lie, too
    unknown = [repr(word) for word in placed.missing]
    if unknown:
        raise ValueError(f"no word vector for {', '.join(unknown)}")
    for word, found in zip(words, placed.coverage.lookups, strict=True):
        if found.vector is None:
            _log.info("%s: no vector of its own: where that lies of which it is a kind", word)
        elif found.rule != "phrase" or found.synonym:
            _log.info("%s: %s: %s", word, LOOKUP_RULES[found.rule], found.text)
    parts = [
        QueryTerm(vector, weight)
        for vector, weight in zip(torch.from_numpy(placed.vectors), weights)
    ]
    if flags.image:
        projected = labeller.project(labeller.embedder(flags.image).mean(1))  # (B, D)
        parts += [QueryTerm(vector, 1.0) for vector in projected]
    return parts


def _own(images: Sequence[Path], names: Sequence[str]) -> list[str]:
    """The names that are photographs of the query: one is the end of such a one's path.

    The file's own name would not do where each folder has its ``image_0001.jpg``.
    """
    places = [(image.parent.resolve() / image.name).as_posix() for image in images]
    return [name for name in names if any(place.endswith(f"/{name}") for place in places)]


def _print(flags: SearchRun, hits: list[Hit]) -> None:
    if flags.json:
        asked = {
            "text": flags.text,
            "image": [str(image) for image in flags.image],
            "plus": flags.plus,
            "minus": flags.minus,
        }
        print(json.dumps({"query": asked, "results": [hit._asdict() for hit in hits]}))
        return
    for name, cosine in hits:
        print_line(f"{name}\t{cosine:.4f}")


def _draw(flags: SearchRun, hits: list[Hit], *, folder: Path, picture: Path) -> int:
    """Write the contact sheet: the images of the query, then the hits; how many are missing."""
    query: list[sheets.Cell | None] = [
        sheets.Cell(path, [sheets.Line(sheets.file_name(path)), sheets.Line("query")], "tab:red")
        for path in flags.image
    ]
    padding = -len(query) % _COLUMNS  # hits begin a new row
    cells = [
        *query,
        *[None] * padding,
        *(
            sheets.Cell(
                _within(folder, hit.name),
                [sheets.Line(sheets.file_name(Path(hit.name)), f"{hit.cosine:.4f}")],
            )
            for hit in hits
        ),
    ]
    failures = sheets.write(picture, cells, columns=_COLUMNS, title=_asked(flags))
    for error in failures:
        print(escape_unprintable(error_message(error)), file=sys.stderr)
    return len(failures)


def _within(folder: Path, name: str) -> Path:
    """Where a photograph lies; a name never leads out of the folder."""
    given = PurePosixPath(name)
    outside = given.is_absolute() or ".." in given.parts
    return folder / (given.name if outside else given)


def _asked(flags: SearchRun) -> str:
    """The query as a sum: ``cat.jpg + dog - cat``."""
    added = [*(image.name for image in flags.image), *flags.text, *flags.plus]
    return " - ".join([" + ".join(added), *flags.minus])
