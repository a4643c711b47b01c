"""Files of captions scored against files of what people said, and what to doubt about it."""

import logging
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from vl.data.captions.captions import CaptionedImage
from vl.evaluation.pairing import (
    Aligned,
    Candidates,
    align,
    check_alike,
    of_both,
    read_candidates,
    read_references,
    read_training,
    unpaired,
)
from vl.evaluation.records import Outcome, System
from vl.evaluation.warnings import caption_warnings, of_frequencies, of_one_image
from vl.metrics.cider import read_frequencies
from vl.metrics.evaluator import BY_RARENESS, DEFAULT, Evaluator, Measure, paired, variety

_log = logging.getLogger(__name__)


def evaluate_files(
    results: Path,
    references: Sequence[Path] = (),
    *,
    measures: Sequence[Measure] = DEFAULT,
    diversity: bool = False,
    split: str | None = None,
    images: Path | None = None,
    subset: bool = False,
    against: Path | None = None,
    frequencies: Path | None = None,
    training_captions: Path | None = None,
    training_images: Path | None = None,
    photographs: bool = False,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Outcome:
    """Score a file of captions; warnings go to the log, a sentence each.

    Args:
        results: in COCO's results format, or plain text, one caption a line; ``-`` is stdin.
        references: a captions file of COCO, Flickr8k or Karpathy, or of plain text one or more;
            none where only diversity is asked for.
        measures: what to score by.
        diversity: count how varied the captions are as well.
        split: only the images of this split of the references.
        images: a file that names images: only these.
        subset: score the images that all files have.
        against: another system's captions of the same images, to be compared with.
        frequencies: a file of how common runs of words are, for CIDEr.
        training_captions: for diversity, what the captioner was trained on.
        training_images: a file that names images: only their captions of those.
        photographs: the images' files will be asked for: refuse captions that have none.
        resamples: of the images, for intervals and comparison; 0 for no intervals.
        confidence: share of the resamples within an interval.
        seed: of the resamples.

    Raises:
        FormatError: a file is not what it should be, or the files do not belong together.
        ValueError: settings are out of range, or do not go together.
        OSError: a file cannot be read, or METEOR or SPICE not be run.
    """
    source = ", ".join(map(str, references))
    if not references and (measures or split or images or subset or against):
        raise ValueError("--references wants a file; only diversity does without")
    candidates = read_candidates(results)
    if photographs and candidates.kind == "plain text":
        problem = f"{results} is plain text, whose lines name no photographs"
        raise ValueError(f"{problem}: leave --photographs out")
    described: Sequence[CaptionedImage] = ()
    if references:
        described = read_references(references, candidates, split=split, images=images)
        aligned = align(candidates, described, source=source, subset=subset)
        _log_left_out(candidates, aligned, described=len(described))
    else:
        aligned = unpaired(candidates)
    other = None
    if against:
        others = read_candidates(against)
        check_alike(candidates, others)
        other = align(others, described, source=source, subset=subset)
        _log_left_out(others, other, described=len(described))
        if subset:
            aligned, other = of_both(aligned, other, names=(results, against))
    training = None
    if training_captions:
        training = read_training(training_captions, images=training_images, scored=aligned)
    known = read_frequencies(frequencies) if frequencies else None
    evaluator = Evaluator(
        [image.captions for image in aligned.images],
        measures=measures,
        frequencies=known,
    )
    system = System(str(results), aligned, evaluator(aligned.captions))
    rival = System(str(against), other, evaluator(other.captions)) if other else None
    _warn(system, rival, evaluator, source)
    if BY_RARENESS & {*measures}:
        if known is None and len(aligned.images) == 1:
            _log.warning("%s", of_one_image(source, aligned.images[0].image_id))
        if frequencies and known is not None and known.images == 1:
            _log.warning("%s", of_frequencies(frequencies))
    scores = system.evaluated.scores
    return Outcome(
        sources=tuple(map(str, references)),
        evaluator=evaluator,
        system=system,
        against=rival,
        figures=evaluator.figures(scores, resamples=resamples, confidence=confidence, seed=seed),
        compared=paired(
            scores,
            rival.evaluated.scores,
            resamples=resamples,
            confidence=confidence,
            seed=seed,
        )
        if rival
        else [],
        variety=variety(aligned.captions, training) if diversity else None,
        resamples=resamples,
        confidence=confidence,
        seed=seed,
    )


def _log_left_out(candidates: Candidates, aligned: Aligned, *, described: int) -> None:
    path, given = candidates.path, len(candidates.captions)
    if aligned.left_out:
        sentence = "%s: %d of %d images have no result here and are left out"
        _log.info(sentence, path, aligned.left_out, described)
    if aligned.unknown:
        sentence = "%s: %d of %d results are of other images and are left out"
        _log.info(sentence, path, aligned.unknown, given)


def _warn(system: System, rival: System | None, evaluator: Evaluator, source: str) -> None:
    images = system.aligned.images
    ids = [image.image_id for image in images]
    found = []
    for scored in (system, rival):
        if scored:
            captions, words = scored.aligned.captions, scored.evaluated.words
            found += caption_warnings(scored.name, images=ids, captions=captions, words=words)
    found += caption_warnings(
        source,
        images=[image.image_id for image in images for _ in image.captions],
        captions=[caption for image in images for caption in image.captions],
        words=list(chain.from_iterable(evaluator.references)),
    )
    for sentence in found:
        _log.warning("%s", sentence)
