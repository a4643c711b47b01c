"""Evaluates captions: files against files of references, or captions and references in memory."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TypeVar

from vl.data.captions.captions import CaptionedImage, ImageId
from vl.data.captions.ptb.tokens import words
from vl.evaluation.output import CaptionEvaluation, ScoredSystem
from vl.evaluation.pairing import (
    PairedCaptions,
    check_same_format,
    common_images,
    pair_captions,
    without_references,
)
from vl.evaluation.read import (
    CandidateCaptions,
    read_candidates,
    read_references,
    read_training_captions,
)
from vl.evaluation.warnings import (
    caption_warnings,
    single_image_frequencies_warning,
    single_image_warning,
)
from vl.metrics.cider import DocumentFrequencies, read_frequencies
from vl.metrics.diversity import Diversity, diversity
from vl.metrics.evaluator import Evaluator, Tokenizer
from vl.metrics.names import DEFAULT_METRICS, TFIDF_METRICS, EvaluationMetric, caption_metrics
from vl.metrics.significance import Resampling, compare_scores

_log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class EvaluationRequest:
    """What to evaluate, and how."""

    candidates: Path
    """In COCO's results format, or plain text, one caption per line; ``-`` is stdin."""
    references: Sequence[Path] = ()
    """A captions file of COCO, Flickr8k or Karpathy, or one or more of plain text; only diversity
    needs none."""
    metrics: Sequence[EvaluationMetric] = DEFAULT_METRICS
    split: str | None = None
    """Only the images of this split of the references."""
    image_list: Path | None = None
    """A file that lists images: only these."""
    subset: bool = False
    """Score the images that all files have."""
    compare_with: Path | None = None
    """Another system's captions of the same images."""
    document_frequencies: Path | None = None
    """A file of document frequencies, for CIDEr."""
    train_captions: Path | None = None
    """For diversity, what the captioner was trained on."""
    train_list: Path | None = None
    """A file that lists images: only their training captions."""
    needs_file_names: bool = False
    """Refuse captions whose images have no file names."""
    resampling: Resampling = Resampling()  # noqa: RUF009  (immutable)
    """Of the images, for intervals and the comparison."""


def evaluate_files(request: EvaluationRequest) -> CaptionEvaluation:
    """Evaluate a file of captions; warnings are logged, one sentence each.

    Raises:
        FormatError: a file is invalid, or the files do not belong together.
        ValueError: invalid arguments.
        OSError: a file cannot be read, or METEOR or SPICE cannot be run.
    """
    metrics = caption_metrics(request.metrics)
    source = ", ".join(map(str, request.references))
    pairs, baseline_pairs = _read_pairs(request, source, needs_references=bool(metrics))
    training = frequencies = baseline = None
    if request.train_captions:
        training = read_training_captions(
            request.train_captions, image_list=request.train_list, evaluation=pairs.images
        )
    if request.document_frequencies:
        frequencies = read_frequencies(request.document_frequencies)
        if frequencies.num_images == 1:
            _log.warning("%s", single_image_frequencies_warning(request.document_frequencies))
    references = [image.captions for image in pairs.images]
    evaluator = Evaluator(references, metrics=metrics, frequencies=frequencies)
    system = ScoredSystem(str(request.candidates), pairs, evaluator(pairs.captions))
    if baseline_pairs:
        scored = evaluator(baseline_pairs.captions)
        baseline = ScoredSystem(str(request.compare_with), baseline_pairs, scored)
    _warn(evaluator, system, baseline, source)
    if TFIDF_METRICS & {*metrics} and frequencies is None and len(pairs.images) == 1:
        _log.warning("%s", single_image_warning(source, pairs.images[0].image_id))
    scores, resampling = system.scored.scores, request.resampling
    return CaptionEvaluation(
        evaluator=evaluator,
        system=system,
        corpus_scores=evaluator.corpus_scores(scores, **resampling._asdict()),
        resampling=resampling,
        sources=tuple(map(str, request.references)),
        baseline=baseline,
        comparisons=compare_scores(scores, baseline.scored.scores, **resampling._asdict())
        if baseline
        else (),
        diversity=_diversity(system, training) if "diversity" in request.metrics else None,
    )


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
        metrics: what to compute; ``"diversity"`` is of all captions together.
        tokenize: ``"ptb"`` as coco-caption does, or ``"whitespace"`` for tokenized captions.
        document_frequencies: for CIDEr and CIDEr-D; computed from the references by default.
        num_resamples: of the images, for confidence intervals; 0 for none.
        confidence: level of the intervals.
        seed: of the resamples.

    Returns:
        Scores that print as those of ``vl evaluate``, with ``to_dict()``, ``to_frame()`` and
        ``per_image()``.

    Raises:
        ValueError: an image has no caption or no reference, or one is not a string; it names the
            image.
        OSError: METEOR or SPICE cannot be run.

    Examples:
        >>> evaluate_captions({7: "a dog runs"}, {7: ["A dog runs.", "A running dog"]})
    """
    captions, reference_lists = _by_id(candidates), _by_id(references)
    for image in reference_lists.keys() - captions.keys():
        raise ValueError(f"image {image!r} has no caption")
    for image in captions.keys() - reference_lists.keys():
        raise ValueError(f"image {image!r} has no references")
    images = []
    for image, texts in reference_lists.items():
        if isinstance(texts, str):
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
    resampling = Resampling(num_resamples, confidence, seed)
    return CaptionEvaluation(
        evaluator=evaluator,
        system=system,
        corpus_scores=evaluator.corpus_scores(system.scored.scores, **resampling._asdict()),
        resampling=resampling,
        diversity=_diversity(system, None) if "diversity" in metrics else None,
    )


def _read_pairs(
    request: EvaluationRequest, source: str, *, needs_references: bool
) -> tuple[PairedCaptions, PairedCaptions | None]:
    """The captions of the system and, if there is one, of the baseline, of the same images."""
    selects = request.split or request.image_list or request.subset or request.compare_with
    if not request.references and (needs_references or selects):
        raise ValueError("--references needs a file; only diversity does without")
    candidates = read_candidates(request.candidates)
    if request.needs_file_names and candidates.format == "plain text":
        problem = f"{request.candidates} is plain text, whose lines name no images"
        raise ValueError(f"{problem}: omit --image-dir")
    if not request.references:
        return without_references(candidates), None
    references = read_references(
        request.references, candidates, split=request.split, image_list=request.image_list
    )

    def pair(captions: CandidateCaptions) -> PairedCaptions:
        pairs = pair_captions(captions, references, source=source, subset=request.subset)
        _log_left_out(captions, pairs, num_images=len(references))
        return pairs

    pairs = pair(candidates)
    if request.compare_with is None:
        return pairs, None
    baseline = read_candidates(request.compare_with)
    check_same_format(candidates, baseline)
    baseline_pairs = pair(baseline)
    if not request.subset:
        return pairs, baseline_pairs
    paths = (request.candidates, request.compare_with)
    return common_images(pairs, baseline_pairs, paths=paths)


def _by_id(captions: Mapping[ImageId, T] | Sequence[T]) -> Mapping[ImageId, T]:
    if isinstance(captions, str):
        raise ValueError(f"captions must be a dictionary or a list, not the string {captions!r}")
    return captions if isinstance(captions, Mapping) else dict(enumerate(captions))


def _diversity(system: ScoredSystem, training: Sequence[str] | None) -> Diversity:
    """Diversity by the words of the evaluator's tokens, in which 2 1/2 is two words."""
    tokenized = [" ".join(tokens).split() for tokens in system.scored.tokens]
    return diversity(tokenized, None if training is None else [words(text) for text in training])


def _log_left_out(candidates: CandidateCaptions, pairs: PairedCaptions, *, num_images: int) -> None:
    path, total = candidates.path, len(candidates.captions)
    if pairs.num_missing:
        message = "%s: %d of %d images have no result here and are left out"
        _log.info(message, path, pairs.num_missing, num_images)
    if pairs.num_unmatched:
        message = "%s: %d of %d results are of other images and are left out"
        _log.info(message, path, pairs.num_unmatched, total)


def _warn(
    evaluator: Evaluator, system: ScoredSystem, baseline: ScoredSystem | None, source: str
) -> None:
    images = system.pairs.images
    messages = []
    for scored_system in (system, baseline):
        if scored_system:
            messages += caption_warnings(
                scored_system.name,
                images=[image.image_id for image in images],
                captions=scored_system.pairs.captions,
                tokens=scored_system.scored.tokens,
            )
    messages += caption_warnings(
        source,
        images=[image.image_id for image in images for _ in image.captions],
        captions=[caption for image in images for caption in image.captions],
        tokens=list(chain.from_iterable(evaluator.references)),
    )
    for message in messages:
        _log.warning("%s", message)
