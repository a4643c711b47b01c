"""Evaluates captions: files against files of references, or captions and references in memory."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import TypeVar

from vl.data.captions.captions import CaptionedImage, ImageId
from vl.data.captions.ptb.tokens import words
from vl.evaluation.caption_records import CandidateCaptions, resolve_ids
from vl.evaluation.output import CaptionEvaluation, ScoredSystem
from vl.evaluation.pairing import (
    PairedCaptions,
    check_same_format,
    common_images,
    pair_captions,
    without_references,
)
from vl.evaluation.read import read_candidates, read_references, read_training_captions
from vl.evaluation.request import EvaluationRequest
from vl.evaluation.warnings import caption_warnings
from vl.metrics.cider import DocumentFrequencies, read_frequencies
from vl.metrics.diversity import Diversity, diversity
from vl.metrics.evaluator import Evaluator, Tokenizer
from vl.metrics.names import (
    DEFAULT_METRICS,
    TFIDF_METRICS,
    EvaluationMetric,
    caption_metrics,
    metric_name,
)
from vl.metrics.significance import Resampling

_log = logging.getLogger(__name__)

T = TypeVar("T")


def evaluate_files(request: EvaluationRequest) -> list[CaptionEvaluation]:
    """Evaluate files of captions; warnings are logged, one sentence system.

    Returns:
        One for each system. If there are several the first is the baseline, the file to compare
        with or else the first of the results, and the others are compared with it.

    Raises:
        FormatError: a file is invalid, or the files do not belong together.
        ValueError: invalid arguments.
        OSError: a file cannot be read, or METEOR or SPICE cannot be run.
    """
    metrics = caption_metrics(request.metrics)
    paired = _read_pairs(request)
    images = paired[0].images
    references = [image.captions for image in images]
    training = frequencies = None
    if request.train_captions:
        training = read_training_captions(
            request.train_captions, image_list=request.train_list, evaluation=images
        )
    single = "%s: CIDEr is 0 by construction, as "
    if request.document_frequencies:
        frequencies = read_frequencies(request.document_frequencies)
        if frequencies.num_images == 1:
            problem = single + "these document frequencies are of a single image"
            _log.warning(problem, request.document_frequencies)
    elif TFIDF_METRICS & {*metrics} and len(references) == 1:
        problem = single + "image %r is the only one and every word is in all images"
        cure = "; --document-frequencies reads them from a file"
        _log.warning(problem + cure, request.source, images[0].image_id)
    evaluator = Evaluator(
        references, metrics=metrics, frequencies=frequencies, fraction=request.fraction
    )
    systems = [
        ScoredSystem(str(path), pairs, evaluator(pairs.captions))
        for path, pairs in zip(request.systems, paired, strict=True)
    ]
    _warn(evaluator, systems, request.source)
    if request.compare_with:
        systems = [systems[-1], *systems[:-1]]
    return [
        CaptionEvaluation(
            evaluator,
            system,
            Resampling(request.num_resamples, request.confidence, request.seed),
            baseline=systems[0] if index else None,
            sources=tuple(map(str, request.references)),
            diversity=_diversity(system, evaluator.scale, training)
            if "diversity" in request.metrics
            else None,
        )
        for index, system in enumerate(systems)
    ]


def evaluate_captions(
    candidates: Mapping[ImageId, str] | Sequence[str],
    references: Mapping[ImageId, Sequence[str]] | Sequence[Sequence[str]],
    *,
    metrics: Sequence[EvaluationMetric] = DEFAULT_METRICS,
    tokenize: Tokenizer = "ptb",
    document_frequencies: DocumentFrequencies | None = None,
    num_resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> CaptionEvaluation:
    """Evaluate captions against references, both in memory.

    Args:
        candidates: a caption for each image: a dictionary by image id, or a list.
        references: one or more captions for each image, of the same ids or in the same order.
        metrics: what to compute, in any case; ``"diversity"`` is of all captions together.
        tokenize: ``"ptb"`` as coco-caption does, or ``"whitespace"`` for tokenized captions.
        document_frequencies: for CIDEr and CIDEr-D; computed from the references by default.
        num_resamples: of the images, for confidence intervals; 0 for none.
        confidence: level of the intervals.
        seed: of the resamples.

    Returns:
        Scores in hundredths that print as those of ``vl evaluate`` and show as tables in a
        notebook, with ``to_dict()``, ``to_frame()`` and ``per_image()``.

    Raises:
        ValueError: an image has no caption or no reference, or one is not a string; it names the
            image.
        OSError: METEOR or SPICE cannot be run.

    Examples:
        >>> evaluate_captions({7: "a dog runs"}, {7: ["A dog runs.", "A running dog"]})
    """
    captions, reference_lists = _by_id(candidates), _by_id(references)
    for image in reference_lists.keys() ^ captions.keys():
        missing = "caption" if image in reference_lists else "references"
        raise ValueError(f"image {image!r} has no {missing}")
    images = []
    for image, texts in reference_lists.items():
        if isinstance(texts, str):  # its letters would be captions
            problem = f"its references must be a list, not the string {texts!r}"
            raise ValueError(f"image {image!r}: {problem}")
        if not texts:
            raise ValueError(f"image {image!r} has no references")
        for text in (captions[image], *texts):
            if not isinstance(text, str):
                raise ValueError(f"image {image!r}: a caption must be a string, not {text!r}")
        images.append(CaptionedImage(image, "", tuple(texts), ""))
    evaluator = Evaluator(
        [image.captions for image in images],
        metrics=caption_metrics(metrics),
        frequencies=document_frequencies,
        tokenizer=tokenize,
    )
    pairs = PairedCaptions(images, [captions[image.image_id] for image in images], 0, 0)
    system = ScoredSystem("candidates", pairs, evaluator(pairs.captions))
    return CaptionEvaluation(
        evaluator,
        system,
        Resampling(num_resamples, confidence, seed),
        diversity=_diversity(system, evaluator.scale)
        if "diversity" in map(metric_name, metrics)
        else None,
    )


def _read_pairs(request: EvaluationRequest) -> list[PairedCaptions]:
    """The captions of each system, of the same images."""
    columns = request.columns
    systems = [read_candidates(path, columns) for path in request.systems]
    if not request.references:
        return [without_references(captions) for captions in systems]
    references = read_references(
        request.references,
        systems[0],
        split=request.split,
        image_list=request.image_list,
        columns=columns,
    )

    def pair(captions: CandidateCaptions) -> PairedCaptions:
        captions = resolve_ids(captions, references)
        pairs = pair_captions(captions, references, source=request.source, subset=request.subset)
        path, left_out = captions.path, "and are left out"
        if pairs.num_missing:
            message = "%s: %d of %d images have no result here %s"
            _log.info(message, path, pairs.num_missing, len(references), left_out)
        if pairs.num_unmatched:
            message = "%s: %d of %d results are of other images %s"
            _log.info(message, path, pairs.num_unmatched, len(captions.captions), left_out)
        return pairs

    for captions in systems[1:]:
        check_same_format(systems[0], captions)
    paired = [pair(captions) for captions in systems]
    return common_images(paired, paths=request.systems) if request.subset else paired


def _by_id(captions: Mapping[ImageId, T] | Sequence[T]) -> Mapping[ImageId, T]:
    if isinstance(captions, str):
        raise ValueError(f"captions must be a dictionary or a list, not the string {captions!r}")
    return captions if isinstance(captions, Mapping) else dict(enumerate(captions))


def _diversity(
    system: ScoredSystem, scale: float, training: Iterable[str] | None = None
) -> Diversity:
    """Diversity by the words of the evaluator's tokens, in which 2 1/2 is two words."""
    tokenized = [" ".join(tokens).split() for tokens in system.scored.tokens]
    known = None if training is None else map(words, training)
    return diversity(tokenized, known).scaled(scale)


def _warn(evaluator: Evaluator, systems: Sequence[ScoredSystem], source: str) -> None:
    images = systems[0].pairs.images
    ids = [image.image_id for image in images]
    files = [(system.name, ids, system.pairs.captions, system.scored.tokens) for system in systems]
    reference_ids = [image.image_id for image in images for _ in image.captions]
    references = [caption for image in images for caption in image.captions]
    files.append((source, reference_ids, references, list(chain(*evaluator.references))))
    for path, ids, captions, tokens in files:
        for message in caption_warnings(path, images=ids, captions=captions, tokens=tokens):
            _log.warning("%s", message)
