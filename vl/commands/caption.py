"""`vl caption`: images to sentences."""

import json
import logging
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from vl.captioning.search import SearchSettings
from vl.commands.options import BatchOptions, OutputOptions
from vl.data.bounds import InputFile, NonNegativeFloat, NonNegativeInt, PositiveInt
from vl.data.choices import RankBy
from vl.data.outputs import CAPTIONS, model_kind
from vl.data.tsv import tsv_line

if TYPE_CHECKING:
    from vl.captioning.captioner import Caption, Captioner
    from vl.captioning.results import CaptionWriter
    from vl.inputs import Inputs

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CaptionFlags(OutputOptions, BatchOptions):
    """Caption images: one line each, or the n best captions.

    A line has path and caption, between them with --n-best the log-probability, separated by tabs.
    """

    paths: tyro.conf.Positional[list[Path]]
    """Images, folders of images, or - for a list of paths on stdin."""
    model: list[InputFile]
    """Captioner; several with a common encoder and vocabulary form an ensemble."""
    num_beams: PositiveInt | None = None
    """Beam width; by default the captioner's setting, as for the flags that follow."""
    max_length: PositiveInt | None = None
    """Maximum number of words, including the end word."""
    min_length: NonNegativeInt | None = None
    """Minimum number of words."""
    length_penalty: NonNegativeFloat | None = None
    """Rank captions by log-probability / length ** length_penalty; above 0 favors longer ones."""
    no_repeat_ngram_size: NonNegativeInt | None = None
    """Never repeat an n-gram of this length; 0 turns it off."""
    rank_by: RankBy | None = None
    """Rank captions by log-probability, or by minimum Bayes risk (most similar to the others)."""
    n_best: PositiveInt = 1
    """Captions per image, at most --num-beams."""
    json: bool = False
    """Print a JSON line for each image: path, captions, log-probabilities."""
    output: Annotated[Path, CAPTIONS] | None = None
    """Also write COCO's results format; image ids are the numbers in COCO's own names, or else file
    names, with folders where two are equal. After an interruption the same command goes on."""
    save_model: Annotated[Path, model_kind("captioner")] | None = None
    """Write the captioner, as an ensemble and with these settings, as one file."""


def run(flags: CaptionFlags) -> int:
    """Caption; 1 if an image could not be read."""
    if not flags.model:
        raise ValueError("--model needs at least one file")
    settings = {name: getattr(flags, name) for name in asdict(SearchSettings())}
    settings = {name: value for name, value in settings.items() if value is not None}

    from vl.captioning.captioner import Captioner
    from vl.captioning.results import caption_writer, image_ids
    from vl.devices import resolve_device
    from vl.inputs import find_inputs

    captioner = Captioner.load(*flags.model, device=resolve_device(flags.device))
    captioner.search = replace(captioner.search, **settings)
    captioner.search.check_n_best(flags.n_best)
    captioner.embedder.batch_size = flags.batch_size
    if flags.save_model:
        captioner.save(flags.save_model, overwrite=flags.overwrite)
        if not flags.paths:
            return 0
    inputs = find_inputs(flags.paths)
    if not flags.output:
        _, failures = _caption(captioner, inputs, flags, None)
    else:
        ids = image_ids(inputs.files)
        with caption_writer(flags.output, captioner, n_best=flags.n_best) as writer:
            best, failures = _caption(captioner, inputs, flags, writer)
            # The captions' references may have other ids than the numbers in the names.
            names = {ids[i]: inputs.files[i].name for i in best if isinstance(ids[i], int)}
            writer.finish({ids[index]: text for index, text in best.items()}, names)
        _log.info("%d captions in %s", len(best), flags.output)
    if failures:
        _log.info("%d of %d inputs failed", failures, len(inputs.files) + len(inputs.failures))
    return 1 if failures else 0


def _caption(
    captioner: "Captioner", inputs: "Inputs", flags: CaptionFlags, writer: "CaptionWriter | None"
) -> tuple[dict[int, str], int]:
    """Print captions; returns the best one by index of the file, and how many inputs failed."""
    from vl.captioning.results import caption_files
    from vl.inputs import error_message
    from vl.terminal import ProgressBar, print_line

    best: dict[int, str] = {}
    failures = len(inputs.failures)
    with ProgressBar("caption", len(inputs.files), unit="images") as bar:
        for error in inputs.failures:
            bar.print(error_message(error))
        for batch in caption_files(captioner, inputs.files, writer, n_best=flags.n_best):
            for _, error in batch.failures:
                bar.print(error_message(error))
            failures += len(batch.failures)
            for index, captions in zip(batch.indices, batch.captions, strict=True):
                for line in _lines(inputs.files[index], captions, flags):
                    print_line(line)
                best[index] = captions[0].text
            sys.stdout.flush()  # a reader of the pipe gets each batch at once
            bar.advance(len(batch.indices) + len(batch.failures))
    return best, failures


def _lines(path: Path, captions: "list[Caption]", flags: CaptionFlags) -> list[str]:
    if flags.json:
        records = [caption._asdict() for caption in captions]
        return [json.dumps({"path": str(path), "captions": records})]
    if flags.n_best > 1:
        return [
            tsv_line(str(path), f"{caption.log_prob:.3f}", caption.text) for caption in captions
        ]
    return [tsv_line(str(path), captions[0].text)]
