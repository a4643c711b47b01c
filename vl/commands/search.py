"""`vl search`: images that are like an image, a word, or a sum of both."""

import json
import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from vl.commands.options import DeviceOptions, OutputOptions
from vl.data.bounds import InputFile, InputPath, OutputPng, PositiveInt
from vl.data.tsv import tsv_line

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SearchFlags(OutputOptions, DeviceOptions):
    """Search images by words, by images, or by sums: an image, minus a word, plus a word.

    Each word and each image is a direction in word space; those of --text, --image and --plus are
    added, those of --minus subtracted.
    """

    index: tyro.conf.Positional[InputFile]
    """Images to search: embeddings by `vl embed` with the labeller's encoder."""
    model: InputFile
    """Labeller's file."""
    text: Annotated[tuple[str, ...], tyro.conf.arg(metavar="WORD ...")] = ()
    """Words or phrases to search for, each in quotes if it has several words."""
    image: Annotated[tuple[InputFile, ...], tyro.conf.arg(metavar="IMAGE ...")] = ()
    """Images to search for."""
    plus: Annotated[tuple[str, ...], tyro.conf.arg(metavar="WORD ...")] = ()
    """Words to add."""
    minus: Annotated[tuple[str, ...], tyro.conf.arg(metavar="WORD ...")] = ()
    """Words to subtract."""
    top_k: PositiveInt = 10
    """Number of results."""
    exclude_query: bool = False
    """Exclude the images of --image from the results, if they are in the index."""
    json: bool = False
    """Print one JSON line: the query, and the names and cosines of the results."""
    contact_sheet: OutputPng | None = None
    """Write a .png of the query's images and the results."""
    image_dir: InputPath = Path()
    """Folder that was embedded, for --contact-sheet."""


def run(flags: SearchFlags) -> int:
    """Search; 1 if an image of the contact sheet could not be drawn."""
    if not (flags.text or flags.image or flags.plus):
        raise ValueError("nothing to search for: give --text, --image or --plus")
    from vl import devices
    from vl.data.files import escape_unprintable
    from vl.inputs import error_message
    from vl.labelling.image_search import ImageQuery, search_images, write_search_sheet
    from vl.labelling.labeller import Labeller
    from vl.search.index import Index
    from vl.terminal import print_line

    labeller = Labeller.load(flags.model, device=devices.resolve_device(flags.device))
    index = Index.load(flags.index, labeller.embedder, labeller.project)
    query = ImageQuery((*flags.text, *flags.plus), flags.image, flags.minus)
    hits = search_images(
        index, labeller, query, top_k=flags.top_k, exclude_query=flags.exclude_query
    )
    if flags.json:
        terms = {name: getattr(flags, name) for name in ("text", "image", "plus", "minus")}
        print(json.dumps({"query": terms, "results": [hit._asdict() for hit in hits]}, default=str))
    else:
        for name, cosine in hits:
            print_line(tsv_line(name, f"{cosine:.4f}"))
    if flags.contact_sheet is None:
        return 0
    sys.stdout.flush()  # a reader of the pipe need not wait for the sheet
    failures = write_search_sheet(flags.contact_sheet, query, hits, image_dir=flags.image_dir)
    for error in failures:
        print(escape_unprintable(error_message(error)), file=sys.stderr)
    drawn = len(hits) + len(flags.image) - len(failures)
    _log.info("%d images in %s", drawn, flags.contact_sheet)
    return 1 if failures else 0
